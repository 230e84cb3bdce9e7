"""A folder of pictures, with its subfolders."""

import os
from collections.abc import Iterator
from pathlib import Path

from sarigan.data.prepare.sources.source import Entry, FileSource
from sarigan.files.folder_walk import files_below
from sarigan.files.picture import read_picture


class FolderSource(FileSource):
    """Keys are POSIX paths relative to the folder, in the file system's bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"folder {path}"

    def scan(self) -> Iterator[Entry]:
        for path in files_below(self.path):
            key = os.fsencode(path)
            yield Entry(key, key.decode("utf-8", "backslashreplace"), key, _stamp(self.path / path))

    def read(self, locator: bytes) -> bytes:
        return read_picture(self.path / os.fsdecode(locator))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns}"
