"""Pictures and prepared sets that several tests of the data package need."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.job import Options, prepare


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """noise(height, width, seed=0, channels=3) -> uint8 [H,W,C], or [H,W] for one channel."""

    def draw(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
        return pixels[..., 0] if channels == 1 else pixels

    return draw


@pytest.fixture
def pictures(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    """A folder: dogs/0..6.png and cats/0..6.jpg of several sizes, one broken picture in each, and a text file."""
    root = tmp_path / "pictures"
    for kind, suffix in (("dogs", "png"), ("cats", "jpg")):
        (root / kind).mkdir(parents=True)
        for index in range(7):
            Image.fromarray(noise(20 + index, 24, index)).save(root / kind / f"{index}.{suffix}", quality=90)
    (root / "cats" / "3.jpg").write_bytes((root / "cats" / "2.jpg").read_bytes()[:200])
    (root / "dogs" / "5.png").write_bytes(b"")
    (root / "readme.txt").write_text("no picture")
    return root


@pytest.fixture
def make_set() -> Callable[..., LmdbDataset]:
    """make_set(source, destination, resolutions, crop=..., num_workers=...) prepares a set and opens it."""

    def make(source: Path | str, destination: Path, *resolutions: int, **settings: object) -> LmdbDataset:
        of_recipe = {name: settings.pop(name) for name in list(settings) if name in Recipe.__dataclass_fields__}
        outcome = prepare(str(source), destination, Recipe(resolutions, **of_recipe), Options(**settings))
        assert outcome.header is not None
        return LmdbDataset(destination)

    return make
