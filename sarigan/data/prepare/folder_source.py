"""A folder of pictures, with its subfolders."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sarigan.data.prepare.picture import BrokenPicture
from sarigan.data.prepare.source import Entry, FileSource
from sarigan.errors import InputError


class FolderSource(FileSource):
    """Keys are POSIX paths relative to the folder, in the file system's bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"folder {path}"

    def scan(self) -> Iterator[Entry]:
        for folder, _, files in os.walk(self.path, onerror=_refuse):
            relative = Path(folder).relative_to(self.path)
            for file in files:
                path = (relative / file).as_posix()
                key = os.fsencode(path)
                yield Entry(key, key.decode("utf-8", "backslashreplace"), key, _stamp(self.path / path))

    def read(self, locator: bytes) -> bytes:
        path = self.path / os.fsdecode(locator)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
                raise BrokenPicture("not a regular file")
            return path.read_bytes()
        except FileNotFoundError:
            if path.is_symlink():
                raise BrokenPicture("a link to nothing") from None
            raise
        except PermissionError:
            raise BrokenPicture("permission denied") from None


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns}"


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot list the folder ({error.strerror})")
