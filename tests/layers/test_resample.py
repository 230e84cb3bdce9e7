"""Resampling by two against scipy, and what it preserves."""

import numpy as np
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.resample import downsample_2x, upsample_2x


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fir(x: np.ndarray, before: int, after: int, gain: float) -> np.ndarray:
    """The filter [1,3,3,1]/8 along both axes, by scipy."""
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    return np.stack([[scipy.signal.convolve2d(image, taps, mode="valid") for image in sample] for sample in x])


def test_upsampling_against_scipy() -> None:
    x = normal(1, 2, 4, 6)
    inserted = np.zeros((1, 2, 8, 12))
    inserted[:, :, ::2, ::2] = x.numpy()
    np.testing.assert_allclose(upsample_2x().double()(x).numpy(), fir(inserted, 2, 1, 4.0), rtol=1e-10, atol=1e-12)


def test_downsampling_against_scipy() -> None:
    x = normal(1, 2, 8, 6)
    expected = fir(x.numpy(), 1, 1, 1.0)[:, :, ::2, ::2]
    np.testing.assert_allclose(downsample_2x().double()(x).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_resampling_keeps_the_mean_and_a_constant_inside() -> None:
    x = normal(2, 3, 32, 32).float()
    up, down = upsample_2x()(x), downsample_2x()(x)
    assert up.shape == (2, 3, 64, 64) and down.shape == (2, 3, 16, 16)
    # Interior images: nothing is lost over the border.
    x = F.pad(x, (4, 4, 4, 4))
    torch.testing.assert_close(upsample_2x()(x).mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(downsample_2x()(x).mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-6)
    ones = torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(upsample_2x()(ones)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 28, 28))
    torch.testing.assert_close(downsample_2x()(ones)[:, :, 1:-1, 1:-1], torch.ones(1, 1, 6, 6))
