"""A prepared set with layouts: images and layouts of one LMDB, both compared with their SHA-256 when they are read."""

import hashlib
from pathlib import Path

import numpy as np

from sarigan.data.layouts.files import LayoutSettings
from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile
from sarigan.data.lmdb.format import DIGEST_HEAD, decode_layout, layout_key
from sarigan.errors import InputError


class PreparedLayouts(LmdbDataset):
    """An `LmdbDataset` whose `extras` are layouts. InputError when it has none, or other ones than the configuration says."""

    def __init__(self, path: Path, size: tuple[int, int], config: LayoutSettings) -> None:
        if size[0] != size[1]:
            raise InputError(
                f"{path}: images of a prepared set are square, got {size[1]}x{size[0]}; data.name=folder takes any"
            )
        super().__init__(path, size[1])
        recipe = self.header.recipe.layout
        if recipe is None:
            raise InputError(f"{path}: a prepared set without layouts; prepare it again with --num-classes")
        for name, there, here in (
            ("num_classes", recipe.num_classes, config.num_classes),
            ("void", "a value" if recipe.has_void else None, None if config.void is None else "a value"),
            ("instances", recipe.has_edges, config.instances),
        ):
            if there != here:
                raise InputError(f"{path}: was prepared with data.{name}={there}, the configuration says {here}")
        self.layout_recipe = recipe
        self._layouts = LmdbFile(path)

    def extras(self, index: int) -> dict[str, np.ndarray]:
        """layout int64 [R,R], and edges uint8 [R,R] where the set has instances."""
        heads = self.info(index).get("layout_sha256")
        key = layout_key(index, self.resolution)
        position = self.header.recipe.resolutions.index(self.resolution)
        if not isinstance(heads, list) or len(heads) != len(self.header.recipe.resolutions):
            raise self._damaged(key, "no layout_sha256 of every resolution")
        record = self._layouts.get(key)
        if record is None:
            raise self._missing(key)
        try:
            if hashlib.sha256(record).hexdigest()[:DIGEST_HEAD] != heads[position]:
                raise ValueError("its SHA-256 differs")
            layout, edges = decode_layout(record, self.resolution, self.layout_recipe)
        except ValueError as error:
            raise self._damaged(key, str(error)) from None
        return {"layout": layout} | ({"edges": edges} if self.layout_recipe.has_edges else {})
