"""Which kind of source a path is, told by content; and the source that has no path, the built-in avatars."""

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sarigan.data.avatars.attributes import AvatarAttributes
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.lmdb.dataset import LmdbFile, is_lmdb
from sarigan.data.lmdb.format import HEADER_KEY, STATE_KEY, Recipe
from sarigan.data.prepare.sources.lmdb import LsunSource, PreparedSource
from sarigan.data.prepare.sources.source import Entry, FolderSource, Source, ZipSource
from sarigan.data.prepare.sources.tar import TarSource, is_tar
from sarigan.errors import InputError
from sarigan.files.paths import kind_of


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

    def stamp(self) -> str:
        return self._any.content_key


def open_source(path: Path, workspace: Path) -> Source:
    """The source at a path; a compressed tar file is unpacked in the workspace. InputError when it is none."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no such file or folder; a source is a folder, zip, tar or LMDB of pictures, or `avatars`")
    if is_lmdb(path):
        file = LmdbFile(path)
        prepared = file.get(HEADER_KEY) is not None or file.get(STATE_KEY) is not None
        return PreparedSource(path) if prepared else LsunSource(path)
    if kind == "folder":
        return FolderSource(path)
    if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
        return ZipSource(path)
    if is_tar(path):
        return TarSource(path, workspace)
    raise InputError(f"{path}: neither a folder nor a zip, tar or LMDB file")
