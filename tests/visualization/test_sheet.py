"""Figures and grids: pictures lie where they should, unharmed; headings do not run over them; colours tell values apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.visualization.attention_maps import heat_overlay, stretch, upsample_maps
from sarigan.visualization.sheet import heat_colors, make_grid, make_sheet, save_grid


def random_pictures(count: int, size: int = 8) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def find(sheet: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Where an exact copy of the picture lies (upper left corners)."""
    h, w = picture.shape[:2]
    corners = np.argwhere((sheet == picture[0, 0]).all(axis=2))
    return [
        (y, x) for y, x in corners
        if y + h <= sheet.shape[0] and x + w <= sheet.shape[1] and np.array_equal(sheet[y : y + h, x : x + w], picture)
    ]  # fmt: skip


def test_pictures_are_whole_in_rows_and_columns() -> None:
    cells = random_pictures(6, 96)
    labels = (["first", "a very long heading that must be wrapped", "third"], ["upper", "lower"])
    sheet = np.array(make_sheet([cells[:3], cells[3:]], *labels, "Title", "Caption " * 30))
    places = [find(sheet, cell) for cell in cells]
    assert all(len(place) == 1 for place in places)
    ys, xs = np.array([place[0] for place in places]).reshape(2, 3, 2).transpose(2, 0, 1)
    assert (ys == ys[:, :1]).all() and (xs == xs[:1]).all()
    assert (np.diff(xs[0]) >= 96).all() and ys[1, 0] - ys[0, 0] >= 96
    # Above, left of and below the pictures there is ink, and in the outermost frame none.
    assert (sheet[: ys[0, 0]] < 128).any() and (sheet[ys[0, 0] : ys[0, 0] + 96, : xs[0, 0]] < 128).any()
    assert (sheet[ys[1, 0] + 96 :] < 160).any()
    for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
        assert (edge == 255).all()


def test_small_pictures_are_enlarged_by_whole_pixels_and_cells_may_be_empty() -> None:
    (cell,) = random_pictures(1, 8)
    sheet = np.array(make_sheet([[None, cell]], min_tile=30))
    assert len(find(sheet, cell.repeat(4, axis=0).repeat(4, axis=1))) == 1


def test_heat_grows_lighter() -> None:
    colors = heat_colors(np.linspace(0, 1, 50)).astype(float)
    luminance = colors @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()
    assert np.array_equal(heat_colors(np.array([-1.0, 2.0])), heat_colors(np.array([0.0, 1.0])))
    grey = heat_overlay(np.full((2, 2, 3), 200, dtype=np.uint8), np.zeros((2, 2)), opacity=0.0)
    assert (grey == 200).all()


def test_maps_are_upsampled_and_stretched() -> None:
    maps = torch.rand(3, 2, 4, 4) * torch.tensor([1.0, 100.0]).view(1, 2, 1, 1)
    large = upsample_maps(maps, 16)
    assert large.shape == (3, 2, 16, 16)
    torch.testing.assert_close(upsample_maps(torch.full((1, 1, 4, 4), 3.0), 16), torch.full((1, 1, 16, 16), 3.0))
    torch.testing.assert_close(upsample_maps(large, 4), large.unflatten(2, (4, 4)).unflatten(4, (4, 4)).mean(dim=(3, 5)))
    stretched = stretch(maps, 0.0, 1.0)
    assert stretched.amin(dim=(0, 2, 3)).tolist() == [0, 0]
    assert stretched.amax(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1])
    assert (stretch(torch.ones(1, 1, 4, 4)) == 0).all()  # a constant map has nothing to show


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
