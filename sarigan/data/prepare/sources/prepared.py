"""A prepared set as the source of a smaller one."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.recipe import Recipe
from sarigan.data.prepare.fit import fit_picture
from sarigan.data.prepare.sources.source import Entry, Source
from sarigan.errors import InputError


class PreparedSource(Source):
    """The largest stored images in their order, with names, labels and attributes."""

    holds_files = False

    def __init__(self, path: Path) -> None:
        self._dataset = LmdbDataset(path)
        self.description = f"prepared set {path}"
        self.header = self._dataset.header
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
