"""The built-in avatars as a source, attributes included."""

import dataclasses
import json
from collections.abc import Iterator

from PIL import Image

from sarigan.data.avatars.attributes import AvatarAttributes
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.sources.source import Entry, Source


class AvatarSource(Source):
    """Drawn at each resolution of the recipe, pixel for pixel what `AvatarDataset` gives."""

    holds_files = False

    def __init__(self, num_images: int, seed: int, recipe: Recipe) -> None:
        self._datasets = {r: AvatarDataset(r, num_images, seed) for r in recipe.resolutions}
        self._any = self._datasets[recipe.resolutions[0]]
        self.description = f"avatars, {num_images} images, seed {seed}"
        self.attributes = {f.name: f.type if isinstance(f.type, str) else f.type.__name__ for f in _FIELDS}

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


_FIELDS = dataclasses.fields(AvatarAttributes)
