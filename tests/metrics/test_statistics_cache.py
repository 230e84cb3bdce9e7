"""Cached statistics are served for the same pixels wherever they lie, and for nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.data.loader import open_images
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.statistics_cache import StatisticsCache

METRICS = ["fd_efficientnet", "kid_efficientnet"]


@pytest.fixture
def folder(png_folder: Path, tmp_path: Path) -> Path:
    """Images of one's own to change."""
    return Path(shutil.copytree(png_folder, tmp_path / "images"))


@pytest.fixture
def real_images_seen(
    evaluation_of: Callable[..., Evaluation], small_network: object, png_folder: Path, tmp_path: Path
) -> Callable[..., int]:
    """real_images_seen(path, ...): evaluates against a path and says how many of its images the network was shown."""

    def run(path: Path, names: list[str] = METRICS, **config: object) -> int:
        before = small_network.seen  # type: ignore[attr-defined]
        judged = open_images(png_folder)
        evaluation = evaluation_of(open_images(path), judged, tmp_path / "cache", batch_size=7, **config)
        values = evaluate(evaluation, names).values()
        fresh = evaluate(evaluation_of(open_images(path), judged, None, batch_size=7, **config), names).values()
        assert values == pytest.approx(fresh, rel=1e-12)
        passes = 2 * len(judged) + len(evaluation.real_images)  # judged twice, and the real ones without a cache
        return small_network.seen - before - passes  # type: ignore[attr-defined]

    return run


def test_same_images_under_another_path(real_images_seen: Callable[..., int], folder: Path, tmp_path: Path) -> None:
    assert real_images_seen(folder) == 24
    assert real_images_seen(folder) == 0
    moved = folder.rename(tmp_path / "elsewhere")
    assert real_images_seen(moved) == 0
    shutil.make_archive(str(tmp_path / "archive"), "zip", moved)
    assert real_images_seen(tmp_path / "archive.zip") == 0


def test_one_pixel(real_images_seen: Callable[..., int], folder: Path) -> None:
    """Not even when size and date of the file stay what they were."""
    assert real_images_seen(folder) == 24
    path = folder / "011.png"
    status = path.stat()
    pixels = np.array(Image.open(path))
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(path)
    import os

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert real_images_seen(folder) == 24


def test_other_protocol(real_images_seen: Callable[..., int], folder: Path, small_network: object) -> None:
    assert real_images_seen(folder) == 24
    assert real_images_seen(folder, preprocessing="clean") == 24
    assert real_images_seen(folder, num_real_images=20) == 20
    small_network.sha256 = "1" * 64  # type: ignore[attr-defined]
    assert real_images_seen(folder) == 24


def test_moments_alone_do_not_serve_for_features(real_images_seen: Callable[..., int], folder: Path) -> None:
    assert real_images_seen(folder, ["fd_efficientnet"]) == 24
    assert real_images_seen(folder, METRICS) == 24
    assert real_images_seen(folder, ["fd_efficientnet"]) == 0


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_files_are_made_anew(real_images_seen: Callable[..., int], folder: Path, tmp_path: Path, damage: str) -> None:
    assert real_images_seen(folder) == 24
    for path in (tmp_path / "cache").iterdir():
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 0xFF
        path.write_bytes({"cut": data[: len(data) // 2], "flip": data, "empty": b""}[damage])
    assert real_images_seen(folder) == 24
    assert real_images_seen(folder) == 0


def test_a_file_under_a_foreign_name_is_not_served(tmp_path: Path) -> None:
    cache = StatisticsCache(tmp_path)
    cache.save({"data": "a"}, {"x": torch.ones(2)})
    cache.save({"data": "b"}, {"x": torch.zeros(2)})
    found = cache.load({"data": "a"})
    assert found is not None and torch.equal(found["x"], torch.ones(2))
    first, second = sorted(tmp_path.iterdir())
    first.replace(second)
    assert cache.load({"data": "a"}) is None or cache.load({"data": "b"}) is None
    assert cache.load({"data": "c"}) is None


def test_unwritable_folder_costs_the_cache_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = StatisticsCache(tmp_path / "file" / "folder")
    cache.save({"data": "a"}, {"x": torch.ones(2)})
    assert cache.load({"data": "a"}) is None
