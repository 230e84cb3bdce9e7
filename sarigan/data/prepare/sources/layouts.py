"""Pictures with layouts as a source: a folder or zip file with `images/` and `labels/`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.layouts.edges import instance_edges
from sarigan.data.layouts.folder import IMAGES, INSTANCES, LABELS, LayoutFolder
from sarigan.data.lmdb.format import Recipe, encode_layout
from sarigan.data.prepare.fit import fit_numbers, fit_picture
from sarigan.data.prepare.sources.source import Entry, Source


class LayoutSource(Source):
    """Entries by path without its ending. A wrong value in a layout stops the preparation and names the file."""

    holds_files = False

    def __init__(self, path: Path, config: LayoutDataConfig) -> None:
        self._folder = LayoutFolder(path, (1, 1), config)
        self._num_classes = config.num_classes
        self.description = f"layouts {path}"
        self._last: tuple[bytes, Image.Image, dict[str, np.ndarray]] | None = None

    def scan(self) -> Iterator[Entry]:
        files = self._folder.files
        for stem in self._folder.stems:
            names = [by_stem[stem] for by_stem in self._folder.by_stem.values()]
            key = stem.encode("utf-8", "surrogateescape")
            yield Entry(key, self._folder.by_stem[IMAGES][stem], key, " ".join(files.stamp(name) for name in names))

    def load(self, locator: bytes, recipe: Recipe) -> tuple[list[Image.Image], list[str]]:
        picture, _ = self._read(locator)
        return [fit_picture(picture, recipe, resolution) for resolution in recipe.resolutions], []

    def load_layouts(self, locator: bytes, recipe: Recipe) -> list[bytes]:
        _, numbers = self._read(locator)
        records = []
        for resolution in recipe.resolutions:
            layout = fit_numbers(numbers[LABELS], recipe, resolution, self._num_classes)
            edges = None
            if INSTANCES in numbers:
                edges = instance_edges(fit_numbers(numbers[INSTANCES], recipe, resolution, -1))
            records.append(encode_layout(layout, edges))
        return records

    def _read(self, locator: bytes) -> tuple[Image.Image, dict[str, np.ndarray]]:
        """Decoded once for an entry, whose picture and layout are asked for one after the other."""
        if self._last is None or self._last[0] != locator:
            self._last = locator, *self._folder.read(locator.decode("utf-8", "surrogateescape"))
        return self._last[1:]
