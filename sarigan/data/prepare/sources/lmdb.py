"""LMDBs as sources: files of pictures, as LSUN's authors export them, and sets prepared before.

LSUN (Yu et al. 2015, github.com/fyu/lsun) comes as an LMDB whose values are JPEG or WebP files; any LMDB of picture files will
do, whatever its keys look like. It is opened read-only and without a lock file.
"""

import dataclasses
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.fit import fit_picture
from sarigan.data.prepare.sources.source import Entry, FileSource, Source
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture

_SIGNATURES = (b"\xff\xd8\xff", b"RIFF", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_LOOKED_AT = 16  # values; one broken picture must not condemn the file


class LsunSource(FileSource):
    """Keys are the LMDB's own. Raises InputError when none of its first values is a picture file."""

    holds_files = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"LMDB {path}"
        self._lmdb = LmdbFile(path)
        heads = [bytes(value[:8]) for _, value in islice(self._lmdb.items(), _LOOKED_AT)]
        if heads and not any(head.startswith(_SIGNATURES) for head in heads):
            raise InputError(
                f"{path}: an LMDB of another format, its values are no picture files (the first begins with {heads[0]!r});"
                " LSUN's export holds JPEG or WebP files"
            )

    def scan(self) -> Iterator[Entry]:
        for key in self._lmdb.keys():  # noqa: SIM118 - not a dictionary
            yield Entry(key, key.decode("utf-8", "backslashreplace"), key)

    def read(self, locator: bytes) -> bytes:
        data = self._lmdb.get(locator)
        if data is None:
            raise BrokenPicture("its key is missing in the LMDB")
        return data

    def stamp(self) -> str:
        return self._lmdb.stamp()


class PreparedSource(Source):
    """A prepared set as the source of a smaller one: the largest stored images, names, labels and attributes."""

    holds_files = False

    def __init__(self, path: Path) -> None:
        self._dataset = LmdbDataset(path)
        self.description = f"prepared set {path}"
        self.header = self._dataset.header
        if self.header.recipe.layout is not None:
            raise InputError(f"{path}: a prepared set with layouts; make the smaller one from the same pictures and labels")
        self.label_names, self.attributes = self.header.label_names, self.header.attributes

    def scan(self) -> Iterator[Entry]:
        for index in range(len(self._dataset)):
            info, key = self._dataset.info(index), b"%08d" % index
            attributes = info.get("attributes")
            yield Entry(
                key,
                info["name"],
                key,
                label=info.get("label"),
                attributes=None if attributes is None else json.dumps(attributes),
            )

    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        picture = Image.fromarray(self._dataset[int(locator)].transpose(1, 2, 0))
        whole = dataclasses.replace(recipe, crop="none")
        return [fit_picture(picture, whole, resolution) for resolution in recipe.resolutions], []

    def stamp(self) -> str:
        return self.header.content_hash

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe with what cannot be chosen again: crop and alpha. InputError for another crop or for more pixels."""
        path, mine = self._dataset.path, self.header.recipe
        if recipe.crop not in ("center", mine.crop):
            raise InputError(f"{path}: its images are cropped already ({mine.crop}), got --crop {recipe.crop}; leave it out")
        if recipe.resolutions[-1] > self._dataset.resolution and not recipe.enlarge:
            raise InputError(f"{path}: holds at most {self._dataset.resolution} px, got --resolution {recipe.resolutions[-1]}")
        return dataclasses.replace(recipe, crop=mine.crop, alpha=mine.alpha, resized_from=self._dataset.resolution)
