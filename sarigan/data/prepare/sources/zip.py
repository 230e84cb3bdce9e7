"""A zip file of pictures (PKWARE's APPNOTE: end record, central directory, zip64, stored and deflated members).

The standard library keeps an object of about 700 bytes for every member, in every process; a set of millions does not
fit so. Here the central directory is read as a stream, and a member is found again by its offset.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sarigan.data.prepare.sources.source import ArchiveFile, Entry, FileSource
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, check_file_bytes

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MEMBER = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCATOR = struct.Struct("<QQQLHH")  # offset, stored bytes, bytes, CRC-32, method, flags
_NOWHERE = 2**64 - 1
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800


class ZipSource(FileSource):
    """Keys are member names in UTF-8. Of members with one name the last counts, as in every unzip program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"zip file {path}"
        self._file = ArchiveFile(path)

    def scan(self) -> Iterator[Entry]:
        with open(self.path, "rb") as file:
            start, size, count, shift = self._find_directory(file)
            file.seek(start)
            for _ in range(count):
                fields = _MEMBER.unpack(self._exactly(file, _MEMBER.size))
                signature, flags, method, crc = fields[0], fields[3], fields[4], fields[7]
                name_length, extra_length, comment_length = fields[10:13]
                if signature != b"PK\1\2":
                    raise self._damaged("its list of members is")
                name = self._exactly(file, name_length).decode("utf-8" if flags & _UTF8 else "cp437", "replace")
                sizes = _sizes(self._exactly(file, extra_length), fields[9], fields[8], fields[16])
                file.seek(comment_length, 1)
                if not name.endswith("/"):
                    offset = min(sizes[2] + shift, _NOWHERE)  # of a damaged member the sum may have more than 64 bits
                    packed = _LOCATOR.pack(offset, sizes[1], sizes[0], crc, method, flags)
                    yield Entry(name.encode(), name, packed, f"{sizes[0]} {crc:08x}")

    def read(self, locator: bytes) -> bytes:
        offset, stored, size, crc, method, flags = _LOCATOR.unpack(locator)
        if flags & _ENCRYPTED:
            raise BrokenPicture("an encrypted zip member")
        if method not in (_STORED, _DEFLATED):
            raise BrokenPicture(f"zip compression method {method}; stored and deflated members can be read")
        check_file_bytes(size)
        local = self._file.read(offset, _LOCAL.size)
        if len(local) < _LOCAL.size or local[:4] != b"PK\3\4":
            raise BrokenPicture("a damaged zip member")
        name_length, extra_length = _LOCAL.unpack(local)[9:11]
        data = self._file.read(offset + _LOCAL.size + name_length + extra_length, stored)
        if method == _DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(data, size + 1)
            except zlib.error:
                raise BrokenPicture("a damaged zip member") from None
        if len(data) != size or zlib.crc32(data) != crc:
            raise BrokenPicture("a damaged zip member (its CRC differs)")
        return data

    def _find_directory(self, file: BinaryIO) -> tuple[int, int, int, int]:
        """Start, size and number of members of the central directory, and by how much all offsets are shifted."""
        length = file.seek(0, 2)
        tail_start = max(0, length - _END.size - 65535)
        file.seek(tail_start)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            raise self._damaged("its end is missing, so it is")
        count, size, start = _END.unpack_from(tail, at)[4:7]
        end = tail_start + at
        locator_at = at - _END64_LOCATOR.size
        if locator_at >= 0 and tail[locator_at : locator_at + 4] == b"PK\6\7":
            end -= _END64_LOCATOR.size + _END64.size
            file.seek(end)
            record = _END64.unpack(self._exactly(file, _END64.size))
            if record[0] != b"PK\6\6":
                raise self._damaged("its zip64 record is")
            count, size, start = record[7:10]
        shift = end - size - start  # of what was written before the archive
        if shift < 0:
            raise self._damaged("its list of members is")
        return start + shift, size, count, shift

    def _exactly(self, file: BinaryIO, size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise self._damaged("its list of members is")
        return data

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what} truncated or damaged; copy or download the zip file again")


def _sizes(extra: bytes, size: int, stored: int, offset: int) -> list[int]:
    """Size, stored size and offset, with those of 0xFFFFFFFF taken from the zip64 extra field in this order."""
    values = [size, stored, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8]))
            values = [next(wide, (value,))[0] if value == 0xFFFFFFFF else value for value in values]
        at += 4 + length
    return values
