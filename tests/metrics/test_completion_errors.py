"""Errors of completed images against slow float64 computations and SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.completion_errors import ERRORS, hole_mae, mae, paired_difference, psnr, relative_mae, ssim


@pytest.fixture
def pair() -> tuple[Tensor, Tensor, Tensor]:
    a = torch.randint(0, 256, (3, 3, 17, 20), dtype=torch.uint8)
    b = (a.float() + 30 * torch.randn(a.shape)).clamp(0, 255).to(torch.uint8)
    return a, b, (torch.rand(3, 1, 17, 20) > 0.4).to(torch.uint8)


def test_mean_errors_by_hand(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    a, b, known = pair
    for n in range(3):
        x, y = a[n].numpy().astype(int), b[n].numpy().astype(int)
        hole = np.broadcast_to(known[n].numpy() == 0, x.shape)
        assert float(relative_mae(a, b, known)[n]) == pytest.approx(np.abs(x - y).sum() / (x + y).sum(), rel=1e-12)
        assert float(mae(a, b, known)[n]) == pytest.approx(np.abs(x - y).mean() / 255, rel=1e-12)
        assert float(hole_mae(a, b, known)[n]) == pytest.approx(np.abs(x - y)[hole].mean() / 255, rel=1e-12)
        assert float(psnr(a, b, known)[n]) == pytest.approx(20 * np.log10(255 / np.sqrt(np.square(x - y).mean())), rel=1e-12)


def test_ssim_against_scipy(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    a, b, known = pair
    grid = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(grid, grid) / grid.sum() ** 2
    for n in range(3):
        values = []
        for channel in range(3):
            x, y = a[n, channel].numpy().astype(float), b[n, channel].numpy().astype(float)
            mx, my = correlate(x, window), correlate(y, window)
            vx = correlate(x * x, window) - mx**2
            vy = correlate(y * y, window) - my**2
            vxy = correlate(x * y, window) - mx * my
            c1, c2 = 2.55**2, 7.65**2
            values.append(((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))[5:-5, 5:-5])
        assert float(ssim(a, b, known)[n]) == pytest.approx(np.mean(values), rel=1e-9)


def test_relative_error_is_symmetric_and_free_of_scale() -> None:
    a, b = torch.randint(0, 100, (2, 3, 12, 12)), torch.randint(0, 100, (2, 3, 12, 12))
    known = torch.zeros(2, 1, 12, 12)
    assert torch.equal(relative_mae(a, b, known), relative_mae(b, a, known))
    assert torch.allclose(relative_mae(2 * a, 2 * b, known), relative_mae(a, b, known))
    black = torch.zeros_like(a)
    assert relative_mae(a, black, known).tolist() == [1, 1] and relative_mae(black, black, known).tolist() == [0, 0]
    assert not torch.allclose(mae(2 * a, 2 * b, known), mae(a, b, known))


def test_equal_images() -> None:
    a, known = torch.randint(0, 256, (2, 3, 12, 12), dtype=torch.uint8), torch.ones(2, 1, 12, 12)
    values = {name: function(a, a, known).tolist() for name, function in ERRORS.items()}
    assert values.pop("ssim") == pytest.approx([1, 1], abs=1e-12)
    assert values == {"relative_mae": [0, 0], "mae": [0, 0], "hole_mae": [0, 0], "psnr": [100, 100]}
    with pytest.raises(InputError, match="SSIM needs images of 11 px and more, got 12x10"):
        ssim(a[:, :, :10], a[:, :, :10], known)


def test_paired_interval() -> None:
    """Of normal differences it is mean +- 1.96 standard errors; what both models share cancels."""
    random = np.random.default_rng(0)
    shared, difference = 100 * random.normal(size=400), random.normal(0.3, 1, size=400)
    mean, low, high = paired_difference(shared + difference, shared)
    error = difference.std() / 20
    assert mean == pytest.approx(difference.mean()) and (low, high) == paired_difference(shared + difference, shared)[1:]
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error) and high == pytest.approx(
        mean + 1.96 * error, abs=0.15 * error
    )
    assert paired_difference(shared, shared) == (0, 0, 0)
