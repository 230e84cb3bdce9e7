"""A tar file of pictures. A compressed one is unpacked beside the destination first: only then can all workers read it."""

import bz2
import gzip
import lzma
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from sarigan.data.prepare.sources.source import Entry, FileSource
from sarigan.files.picture import BrokenPicture, check_file_bytes
from sarigan.files.reading import reading

_REMEDY = "copy or download it again"
_LOCATOR = struct.Struct("<QQ?")  # offset, size, whether it is a plain file
_MAGIC: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class TarSource(FileSource):
    """Keys are member names in UTF-8, a leading ./ taken away. Of members with one name the last counts, as in tar."""

    def __init__(self, path: Path, workspace: Path) -> None:
        self.description = f"tar file {path}"
        self.path = _unpacked(path, workspace)
        self._named = path
        self._file = ArchiveFile(self.path)

    def scan(self) -> Iterator[Entry]:
        with reading(self._named, "tar file", hint=_REMEDY), tarfile.open(self.path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # the module would keep them all
                if member.isdir():
                    continue
                name = member.name.removeprefix("./")
                plain = member.isreg() and not member.issparse()
                packed = _LOCATOR.pack(member.offset_data, member.size, plain)
                key = name.encode("utf-8", "surrogateescape")
                stamp = f"{member.size} {int(member.mtime)} {member.chksum}"
                yield Entry(key, key.decode("utf-8", "backslashreplace"), packed, stamp)

    def read(self, locator: bytes) -> bytes:
        offset, size, plain = _LOCATOR.unpack(locator)
        if not plain:
            raise BrokenPicture("a link or special file in the tar file")
        check_file_bytes(size)
        data = self._file.read(offset, size)
        if len(data) < size:
            raise BrokenPicture("cut off by the end of the tar file")
        return data


def is_tar(path: Path) -> bool:
    """Whether the file is a tar file, compressed or not."""
    try:
        return tarfile.is_tarfile(path)
    except Exception:  # damaged bytes make tarfile and decompressors raise anything
        return False


def _unpacked(path: Path, workspace: Path) -> Path:
    """The file itself, or a decompressed copy in the workspace that is made once."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _MAGIC.items() if head.startswith(magic)), None)
    if opener is None:
        return path
    status = path.stat()
    unpacked = workspace / f"source-{status.st_size}-{status.st_mtime_ns}.tar"
    if unpacked.exists():
        return unpacked
    temporary = unpacked.with_suffix(".tmp")
    try:
        with (
            open(path, "rb") as compressed,
            tqdm.wrapattr(compressed, "read", total=status.st_size, desc="unpacking", unit="B") as counted,
            opener(counted) as source,
            open(temporary, "wb") as target,
        ):
            while block := _next_block(source, path):
                target.write(block)
        os.replace(temporary, unpacked)
    finally:
        temporary.unlink(missing_ok=True)
    return unpacked


def _next_block(source: Any, path: Path) -> bytes:
    with reading(path, "compressed tar file", hint=_REMEDY):
        return bytes(source.read(1 << 20))


class ArchiveFile:
    """A file that is read at given offsets. Each process opens it on first use; pickles to its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, BinaryIO] | None = None

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; fewer at the end of the file. BrokenPicture when that is too large to be held."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open(self.path, "rb"))  # noqa: SIM115 - kept open
        file = self._opened[1]
        left = os.fstat(file.fileno()).st_size - offset  # a damaged archive names places that no file has
        if left <= 0:
            return b""
        size = min(size, left)
        check_file_bytes(size)
        file.seek(offset)
        return file.read(size)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_opened": None}
