"""The files below a folder, linked folders included."""

import os
from collections.abc import Iterator
from pathlib import Path

from sarigan.errors import InputError


def files_below(root: Path) -> Iterator[str]:
    """POSIX paths relative to `root`, in any order. InputError for a folder that cannot be listed.

    A link to a folder is followed, but not to one that it lies in: that would never end.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]  # with the folders on the way to it
    while waiting:
        relative, above = waiting.pop()
        folder = root / relative
        try:
            status = folder.stat()
            entries = [*os.scandir(folder)]
        except OSError as error:
            raise InputError(f"{folder}: cannot list the folder ({error.strerror})") from None
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if _is_folder(entry):
                waiting.append((path, above | {here}))
            else:
                yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
