"""One picture as a data set: its size, its hash, its resizing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.data.picture import Picture, PictureDataConfig, read_pixels, resized
from sarigan.errors import InputError


def test_a_picture_is_a_set_of_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    picture = Picture(str(path), lambda height, width: (height, width))
    assert len(picture) == 1 and picture.resolution == 31 and picture.file_size == (20, 31)
    assert np.array_equal(picture[0], pixels.transpose(2, 0, 1))
    assert np.array_equal(read_pixels(path).numpy(), picture[0])
    assert picture.describe() == f"one picture of 31x20 px: {path}"
    half = Picture(str(path), lambda height, width: (height // 2, width // 2))
    assert half[0].shape == (3, 10, 15) and half.describe().startswith("one picture of 15x10 px, of a file with 31x20")
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    assert picture.content_key == Picture(str(tmp_path / "a.bmp"), lambda *size: size).content_key  # of the pixels alone
    assert picture.content_key != half.content_key
    Image.fromarray(pixels.reshape(31, 20, 3)).save(path)
    assert picture.content_key != Picture(str(path), lambda *size: size).content_key


@pytest.mark.parametrize("size", [(10, 13), (41, 50), (20, 62), (7, 40)])
def test_resizing_is_pillows_bicubic(size: tuple[int, int]) -> None:
    """Within the rounding of Pillow's 32-bit floats, of a smooth picture that stays in -1..1."""
    y, x = np.mgrid[:20, :31]
    plane = (0.5 * np.sin(x / 3) * np.cos(y / 4)).astype(np.float32)
    expected = np.array(Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    found = resized(torch.from_numpy(plane)[None, None].expand(1, 3, -1, -1), size)
    assert found.shape == (1, 3, *size) and np.abs(found[0, 1].numpy() - expected).max() < 1e-4


def test_resizing_stays_in_range_and_keeps_the_size_it_has() -> None:
    step = torch.cat([-torch.ones(1, 3, 8, 4), torch.ones(1, 3, 8, 4)], dim=3)
    assert resized(step, (16, 16)).abs().max() == 1
    assert resized(step, (8, 8)) is step


def test_settings_of_sets_of_many_are_refused() -> None:
    for settings in ({"name": "folder"}, {"flip": True}, {"labels": "x"}, {"num_workers": 1}):
        with pytest.raises(InputError, match=r"data\."):
            PictureDataConfig(**settings)  # type: ignore[arg-type]
