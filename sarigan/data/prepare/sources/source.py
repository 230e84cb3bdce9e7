"""What a preparation reads from: entries that can be listed once and loaded in any process, in any order."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from sarigan.data.lmdb.recipe import Recipe
from sarigan.data.prepare.fit import fit_picture
from sarigan.data.prepare.picture import open_picture
from sarigan.files.picture import BrokenPicture, check_file_bytes


class Entry(NamedTuple):
    """One file or record of a source."""

    key: bytes  # unique; entries are prepared in the order of their keys
    name: str  # for a person, and what attribute tables call it
    locator: bytes  # all that `load` needs
    stamp: str = ""  # changes when the content does
    label: int | None = None
    attributes: str | None = None  # a JSON object


class Source(ABC):
    """Listed by one process, loaded by many: instances pickle, and open files only where they are used.

    `load` raises BrokenPicture or UnfitPicture for one picture, and OSError when the source itself cannot be read.
    """

    description: str  # for a person
    holds_files = True  # entries have file names: extensions, class folders and attribute tables mean something
    label_names: list[str] | None = None  # of entries that come with labels
    attributes: dict[str, str] = {}  # of entries that come with attributes: column -> kind

    @abstractmethod
    def scan(self) -> Iterator[Entry]:
        """All entries, in any order, without holding them."""

    @abstractmethod
    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        """RGB images, one a resolution of the recipe, and what was converted."""

    def read(self, locator: bytes) -> bytes:
        """The bytes of a file, for attribute tables."""
        raise BrokenPicture("holds no files")

    def stamp(self) -> str:
        """Whatever `Entry.stamp` does not cover."""
        return ""


class FileSource(Source):
    """A source of picture files."""

    @abstractmethod
    def read(self, locator: bytes) -> bytes: ...

    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        picture, notes = open_picture(self.read(locator), recipe.alpha)
        return [fit_picture(picture, recipe, resolution) for resolution in recipe.resolutions], notes


class ArchiveFile:
    """A file read at given offsets. Each process has its own position in it: opened on first use, pickles to its path."""

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
