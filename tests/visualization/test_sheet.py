"""Figures: pictures lie where they should, unharmed; headings do not run over them; colours tell values apart."""

import numpy as np
import pytest
import torch

from sarigan.visualization.color_maps import heat_colors, heat_overlay, stretch, upsample_maps
from sarigan.visualization.sheet import make_sheet


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
