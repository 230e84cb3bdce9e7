"""Sources of pictures, listed once and loaded in any process in any order; here folders, zip files and built-in avatars."""

import dataclasses
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from sarigan.data.avatars.attributes import AvatarAttributes
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.image_folder import files_below
from sarigan.data.lmdb.format import Recipe, encode_layout
from sarigan.data.prepare.fit import fit_picture
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, ZipPictures, decode_picture, read_picture


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
        """All entries in any order, one at a time."""

    @abstractmethod
    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        """RGB images, one a resolution of the recipe, and what was converted."""

    def load_layouts(self, locator: bytes, recipe: Recipe) -> list[bytes]:
        """The records of an entry's layouts, one a resolution, where the recipe has layouts. InputError for a wrong value."""
        raise InputError(
            f"{self.description}: has no layouts; --num-classes needs a folder with images/ and labels/, or avatars"
        )

    def read(self, locator: bytes) -> bytes:
        """The bytes of a file, for attribute tables."""
        raise BrokenPicture("holds no files")

    def stamp(self) -> str:
        """Changes when the source does in a way that no `Entry.stamp` shows."""
        return ""


class FileSource(Source):
    """A source of picture files."""

    @abstractmethod
    def read(self, locator: bytes) -> bytes: ...

    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        picture, notes = decode_picture(self.read(locator), recipe.alpha)
        return [fit_picture(picture, recipe, resolution) for resolution in recipe.resolutions], notes


class FolderSource(FileSource):
    """A folder of pictures, with its subfolders. Keys are POSIX paths relative to it, in the file system's bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"folder {path}"

    def scan(self) -> Iterator[Entry]:
        for path in files_below(self.path):
            key = os.fsencode(path)
            yield Entry(key, key.decode("utf-8", "backslashreplace"), key, _stamp(self.path / path))

    def read(self, locator: bytes) -> bytes:
        return read_picture(self.path / os.fsdecode(locator))


class ZipSource(FileSource):
    """A zip file of pictures. Keys are member names in UTF-8."""

    def __init__(self, path: Path) -> None:
        self.description = f"zip file {path}"
        self._zip = ZipPictures(path)

    def scan(self) -> Iterator[Entry]:
        for name in self._zip.names():
            key = name.encode("utf-8", "surrogateescape")
            yield Entry(key, key.decode("utf-8", "backslashreplace"), key, self._zip.stamp(name))

    def read(self, locator: bytes) -> bytes:
        return self._zip.read(locator.decode("utf-8", "surrogateescape"))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns}"


class AvatarSource(Source):
    """Drawn at each resolution of the recipe, pixel for pixel what `AvatarDataset` gives."""

    holds_files = False

    def __init__(self, num_images: int, seed: int, recipe: Recipe) -> None:
        self._datasets = {r: AvatarDataset(r, num_images, seed) for r in recipe.resolutions}
        self._any = self._datasets[recipe.resolutions[0]]
        self.description = f"avatars, {num_images} images, seed {seed}"
        fields = dataclasses.fields(AvatarAttributes)
        self.attributes = {f.name: f.type if isinstance(f.type, str) else f.type.__name__ for f in fields}

    def scan(self) -> Iterator[Entry]:
        for index in range(len(self._any)):
            key = b"%08d" % index
            attributes = json.dumps(dataclasses.asdict(self._any.attributes(index)))
            yield Entry(key, key.decode(), key, attributes=attributes)

    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        pictures = [self._datasets[r][int(locator)].transpose(1, 2, 0) for r in recipe.resolutions]
        return [Image.fromarray(picture) for picture in pictures], []

    def load_layouts(self, locator: bytes, recipe: Recipe) -> list[bytes]:
        return [encode_layout(self._datasets[r].mask(int(locator))) for r in recipe.resolutions]

    def stamp(self) -> str:
        return self._any.content_key
