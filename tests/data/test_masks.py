"""Masks by name: the coverages stated for the published code, functions of (seed, index), and their way into a batch."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.data.loader import DataConfig, training_batches
from sarigan.data.mask_files import MaskFolder, image_names, mask_name, prepare, read_mask, save_mask
from sarigan.data.masks import KINDS, MaskConfig, MaskedDataConfig, MaskSource
from sarigan.errors import InputError

BOX = sum((128 - 2 * trim) / 17 for trim in range(17)) ** 2 / 256**2
SQUARE = sum(0.25 / (1 + math.sin(math.radians(2 * t))) for t in range(46)) / 46


@pytest.mark.parametrize(
    ("kind", "resolution", "count", "share", "tolerance"),
    [
        ("center", 256, 1, 0.25, 0.0),
        ("box", 256, 2000, BOX, 0.01),  # 19.1%
        ("rotated_square", 256, 300, SQUARE, 0.01),  # 16%
        ("brush", 256, 2000, 0.31, 0.01),
        ("comod", 256, 300, 0.73, 0.035),  # a deviation of 17%: four standard errors of so few
        ("comod", 512, 300, 0.65, 0.035),
    ],
)
def test_coverage(kind: str, resolution: int, count: int, share: float, tolerance: float) -> None:
    source = MaskSource(MaskConfig(kind=kind), resolution, seed=0)
    assert np.mean([1 - source(index).mean() for index in range(count)]) == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_a_function_of_seed_and_index(kind: str) -> None:
    source, again, other = (MaskSource(MaskConfig(kind=kind), 64, seed) for seed in (3, 3, 4))
    forward = [source(index) for index in range(6)]
    assert all(np.array_equal(again(index), forward[index]) for index in reversed(range(6)))
    for mask in forward:
        assert mask.shape == (1, 64, 64) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    if kind != "center":
        assert not np.array_equal(forward[0], forward[1]) and not np.array_equal(other(0), forward[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolution", [8, 1024])
def test_every_size(kind: str, resolution: int) -> None:
    source = MaskSource(MaskConfig(kind=kind), resolution, seed=1)
    assert all(0 < source(index).mean() < 1 for index in range(3))


def test_exact_holes() -> None:
    hole = 1 - MaskSource(MaskConfig(kind="center"), 256, 0)(0)[0]
    assert hole[64:192, 64:192].all() and hole.sum() == 128**2
    sides = set()
    for index in range(300):
        rows, columns = np.nonzero(1 - MaskSource(MaskConfig(kind="box"), 256, 0)(index)[0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width == len(rows) and {height % 2, width % 2} == {0}
        sides |= {int(height), int(width)}
    assert min(sides) == 96 and max(sides) == 128


def test_bounds_of_the_hole() -> None:
    source = MaskSource(MaskConfig(kind="comod", min_hole=0.2, max_hole=0.4), 64, 0)
    assert all(0.2 < 1 - source(index).mean() < 0.4 for index in range(20))
    assert all(1 - MaskSource(MaskConfig(kind="lama_thick"), 64, 0)(index).mean() < 0.5 for index in range(40))
    with pytest.raises(
        InputError, match=r"none of 1000 masks of kind 'center' at 8 px has a hole between 0.5 and 1 of the image"
    ):
        MaskSource(MaskConfig(kind="center", min_hole=0.5), 8, 0)(0)


class Plain:
    resolution = 16

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> np.ndarray:
        return np.full((3, 16, 16), index, dtype=np.uint8)

    def describe(self) -> str:
        return "plain"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_mask_of_a_position_does_not_depend_on_ranks_or_epoch(num_workers: int) -> None:
    config = MaskedDataConfig(num_workers=num_workers, mask=MaskConfig(kind="brush"))
    source = MaskSource(config.mask, 16, seed=7)
    one = next(training_batches(Plain(), config, 7, 32, 8))
    assert torch.equal(one.mask, torch.from_numpy(np.stack([source(position) for position in range(32, 40)])))
    for rank in range(2):
        part = next(training_batches(Plain(), config, 7, 32, 8, rank, 2))
        assert torch.equal(part.mask, one.mask[rank::2]) and torch.equal(part.images, one.images[rank::2])
    plain = next(training_batches(Plain(), DataConfig(num_workers=0), 7, 32, 8))
    assert plain.mask is None and torch.equal(plain.images, one.images)
    moved = one.to_device(torch.device("cpu"), torch.float32, torch.contiguous_format)
    assert moved.mask.dtype == torch.float32 and set(moved.mask.unique().tolist()) == {0.0, 1.0}


def test_stored_masks(tmp_path: Path) -> None:
    names = ["a/1.jpg", "a/2.jpg", "b.png"]
    source = MaskSource(MaskConfig(kind="brush"), 32, 5)
    count, share = prepare(tmp_path, names, source)
    assert count == 3 and share == pytest.approx(np.mean([1 - source(index).mean() for index in range(3)]))
    before = (tmp_path / "b.png").stat().st_mtime_ns
    assert prepare(tmp_path, [*names, "c.png"], source)[0] == 1 and (tmp_path / "b.png").stat().st_mtime_ns == before
    folder = MaskFolder(tmp_path, 32)
    folder.require(names)
    for index, name in enumerate(names):
        assert np.array_equal(folder.mask_of(name), source(index))
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.mode == "L" and np.array_equal(np.asarray(picture) == 255, source(2)[0] == 0)
    with pytest.raises(InputError, match=r"has no mask d.png for image d.jpg \(1 of 2 images have none\)"):
        folder.require(["a/1.jpg", "d.jpg"])
    drawn = MaskSource(MaskConfig(kind="file", path=str(tmp_path)), 32, 0)
    held = {folder.mask(name).tobytes() for name in folder.names}
    assert {drawn(index).tobytes() for index in range(40)} == held
    assert mask_name("x/y.webp") == "x/y.png"
    with pytest.raises(InputError, match="images a.jpg and a.png would have one mask, a.png"):
        image_names(type("Set", (), {"names": ["a.jpg", "a.png"]}), 2)


def test_masks_that_cannot_be_used(tmp_path: Path) -> None:
    def stored(picture: Image.Image) -> Path:
        path = tmp_path / "mask.png"
        picture.save(path)
        return path

    frame = np.full((8, 8), 255, dtype=np.uint8)
    frame[3:5, 3:5] = 0
    path = stored(Image.fromarray(frame))
    with pytest.raises(InputError, match="looks inverted.*--white known"):
        read_mask(path)
    assert read_mask(path, "known").sum() == 60 and read_mask(path, "hole").sum() == 4
    assert read_mask(stored(Image.fromarray(255 - frame))).sum() == 60
    with pytest.raises(InputError, match="the mask is 8x8, the image 16x8"):
        read_mask(path, size=(16, 8))
    with pytest.raises(InputError, match=r"grey 8-bit picture \(mode L or 1\), got mode RGB$"):
        read_mask(stored(Image.new("RGB", (8, 8))))
    for value, colour in ((0, "black"), (255, "white")):
        with pytest.raises(InputError, match=f"the mask is all {colour}; it needs a hole and something known"):
            read_mask(stored(Image.new("L", (8, 8), value)))
    path.write_text("no picture")
    with pytest.raises(InputError, match="not a readable mask"):
        read_mask(path)
    with pytest.raises(InputError, match="no such file"):
        read_mask(tmp_path / "absent.png")
    with pytest.raises(InputError, match="no such folder of masks"):
        MaskFolder(tmp_path / "absent", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no mask"):
        MaskFolder(tmp_path / "empty", 8)
    save_mask(tmp_path / "empty" / "x.png", np.ones((1, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "none"}, "data.mask.kind must be one of center, box, .*, file, got 'none'"),
        ({"kind": "file"}, "data.mask.path must be a folder of masks"),
        ({"path": "x"}, "data.mask.path must be a folder of masks for data.mask.kind=file, and null otherwise, got 'x'"),
        ({"min_hole": 0.5, "max_hole": 0.5}, "0 <= min_hole < max_hole <= 1, got 0.5 and 0.5"),
        ({"kind": "file", "path": "x", "min_hole": 0.2}, "must be 0 and 1 for data.mask.kind=file, .*, got 0.2 and 1.0"),
        ({"white": "black"}, "data.mask.white must be one of auto, hole, known"),
    ],
)
def test_settings_that_make_no_mask(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskConfig(**settings)
