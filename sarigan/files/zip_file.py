"""Zip files of pictures, read by the standard library: every member is bounded before it is unpacked, and checked."""

import os
import zipfile
from pathlib import Path

from sarigan.files.picture import BrokenPicture, check_file_bytes
from sarigan.files.reading import reading, reason_of


class ZipPictures:
    """The members of a zip file by name; of members with one name the last counts, as in every unzip program.

    Each process opens the file itself on first use, because a forked one would share the position in it; pickles to its path.
    InputError when it is no readable zip file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None  # with the process that opened it

    def names(self) -> list[str]:
        """Of all files in it, in any order."""
        return [name for name in self._archive().NameToInfo if not name.endswith("/")]

    def stamp(self, name: str) -> str:
        """Changes when the member does."""
        info = self._archive().getinfo(name)
        return f"{info.file_size} {info.CRC:08x}"

    def read(self, name: str, size: int | None = None) -> bytes:
        """A member, or its first `size` bytes. BrokenPicture when it is too large, damaged or encrypted."""
        info = self._archive().getinfo(name)
        check_file_bytes(info.file_size)
        if info.header_offset + info.compress_size > os.path.getsize(self.path):
            raise BrokenPicture("a damaged zip member (it lies beyond the end of the file)")
        try:
            with self._archive().open(info) as member:
                data = member.read(info.file_size if size is None else size)  # read() alone would unpack more than it claims
        except Exception as error:  # damaged bytes make zipfile raise anything
            raise BrokenPicture(reason_of(error)) from None
        if size is None and len(data) != info.file_size:
            raise BrokenPicture("a damaged zip member (its size differs)")
        return data

    def _archive(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            with reading(self.path, "zip file", hint="copy or download it again"):
                self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_opened": None}
