"""A tar file of pictures. A compressed one is unpacked beside the destination first: only then can all workers read it."""

import bz2
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sarigan.data.prepare.sources.source import ArchiveFile, Entry, FileSource
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, check_file_bytes

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
        try:
            with tarfile.open(self.path, "r:") as archive:
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
        except tarfile.TarError as error:
            raise InputError(f"{self._named}: truncated or damaged tar file ({error})") from None

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
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
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
            shutil.copyfileobj(source, target, 1 << 20)
        os.replace(temporary, unpacked)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged compressed tar file ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return unpacked
