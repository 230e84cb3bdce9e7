"""Label maps are told from pictures, named with the images they belong to, and left out by patterns."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.job import Options, prepare
from sarigan.data.prepare.label_maps import is_label_map
from sarigan.errors import InputError

Noise = Callable[..., np.ndarray]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def label_map(seed: int = 0) -> Image.Image:
    """48x48: blocks of 12 pixels, each of one of 9 classes."""
    blocks = np.random.default_rng(seed).integers(0, 9, (4, 4)).astype(np.uint8)
    blocks[0, :2] = 0, 1
    return Image.fromarray(blocks.repeat(12, axis=0).repeat(12, axis=1))


def photograph(seed: int = 0) -> Image.Image:
    """48x48 with grain."""
    y, x = np.mgrid[:48, :48]
    smooth = 128 + 60 * np.sin(x / 9 + seed) + 50 * np.cos(y / 7)
    grain = np.random.default_rng(seed).normal(0, 4, (48, 48))
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def test_told_apart() -> None:
    palette = label_map().convert("P")
    palette.putpalette([*range(256)] * 3)
    sixteen = Image.fromarray(np.asarray(label_map()).astype(np.uint16))
    assert all(is_label_map(encoded(image)) for image in (label_map(), palette, sixteen))
    colored = label_map().convert("RGB")
    grey, few_colors = photograph(), photograph().convert("RGB").quantize(32)
    plain = Image.new("L", (48, 48), 200)
    assert not any(is_label_map(encoded(image)) for image in (colored, grey, few_colors, plain))
    assert not is_label_map(encoded(label_map(), "JPEG")) and not is_label_map(b"broken")


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A zip file of 6 photographs and their 5 label maps."""
    with zipfile.ZipFile(tmp_path / "street.zip", "w") as archive:
        for index in range(6):
            archive.writestr(f"street/images/{index}.png", encoded(photograph(index).convert("RGB")))
        for index in range(5):
            archive.writestr(f"street/annotations/{index}.png", encoded(label_map(index)))
    return tmp_path / "street.zip"


def test_refused_with_the_pattern_that_leaves_them_out(street: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        prepare(str(street), tmp_path / "set", Recipe((32,)), Options(num_workers=1))
    assert str(error.value) == (
        f"zip file {street}: 5 files street/annotations/*.png are label maps, not photographs, the annotations of the images"
        " street/images/*.png; resizing would mix their classes. --exclude 'street/annotations/*.png' leaves them out,"
        " --label-maps keep prepares them all the same"
    )
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.partial").exists()


@pytest.mark.parametrize(
    ("options", "count", "left_out"),
    [
        ({"exclude": ("street/annotations/*.png",)}, 6, 5),
        ({"include": ("*/images/*",), "exclude": ("*/5.png", "*/4.png")}, 4, 7),
        ({"label_maps": "keep"}, 11, 0),
    ],
)
def test_patterns(street: Path, tmp_path: Path, options: dict, count: int, left_out: int) -> None:
    outcome = prepare(str(street), tmp_path / "set", Recipe((32,)), Options(num_workers=1, **options))
    assert len(LmdbDataset(tmp_path / "set")) == count
    assert sum(outcome.report["ignored"].values()) == left_out


def test_patterns_that_leave_nothing(street: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pictures found; looked for .*; --include and --exclude leave out 11$"):
        prepare(str(street), tmp_path / "set", Recipe((32,)), Options(num_workers=1, include=("*.jpg",)))
