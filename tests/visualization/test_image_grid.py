"""Grids of images, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.visualization.image_grid import make_grid, save_grid


def test_values_are_rounded_and_clamped() -> None:
    images = torch.tensor([-2.0, -1.0, -0.999, 0.0, 1 / 255, 1.0, 1.5])
    assert to_uint8(images).tolist() == [0, 0, 0, 128, 128, 255, 255]
    every = torch.arange(256) / 127.5 - 1  # what training reads from uint8 comes back unchanged
    assert torch.equal(to_uint8(every), torch.arange(256, dtype=torch.uint8))
    assert to_uint8(every.bfloat16()).dtype == torch.uint8


@pytest.mark.parametrize(
    ("n", "columns", "shape"),
    [(4, None, (2, 2)), (5, None, (2, 3)), (6, 2, (3, 2)), (1, None, (1, 1)), (3, 5, (1, 5))],
)
def test_layout(n: int, columns: int | None, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(n, 3, 4, 6) * 2 - 1
    grid = make_grid(images, columns)
    rows, width = shape
    assert grid.shape == (rows * 4, width * 6, 3) and grid.dtype == np.uint8
    for index in range(rows * width):
        row, column = divmod(index, width)
        tile = grid[row * 4 : row * 4 + 4, column * 6 : column * 6 + 6]
        expected = to_uint8(images[index]).permute(1, 2, 0).numpy() if index < n else np.zeros((4, 6, 3))
        np.testing.assert_array_equal(tile, expected)


def test_file_is_the_grid(tmp_path: Path) -> None:
    images = torch.rand(4, 3, 4, 4) * 2 - 1
    path = tmp_path / "new" / "grid.png"
    grid = save_grid(images, path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), grid)
    np.testing.assert_array_equal(grid, make_grid(images))


def test_small_grids_are_enlarged_by_whole_pixels(tmp_path: Path) -> None:
    images = torch.rand(4, 3, 4, 4) * 2 - 1
    grid = save_grid(images, tmp_path / "grid.png", min_width=35)
    assert grid.shape == (32, 32, 3)  # 8 pixels times 4
    np.testing.assert_array_equal(grid[::4, ::4], make_grid(images))
    np.testing.assert_array_equal(grid[3::4, 3::4], make_grid(images))
