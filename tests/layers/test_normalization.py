"""Pixel norm and instance norm against loops."""

import math

import numpy as np
import torch
from torch import Tensor

from sarigan.layers.normalization import instance_norm, pixel_norm


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pixel_norm() -> None:
    z = normal(3, 8)
    expected = [[v / math.sqrt(sum(w * w for w in row) / 8 + 1e-8) for v in row] for row in z.tolist()]
    np.testing.assert_allclose(pixel_norm(z).numpy(), expected, rtol=1e-12)
    torch.testing.assert_close(pixel_norm(z * 100).square().mean(dim=1), torch.ones(3, dtype=torch.float64))


def test_instance_norm() -> None:
    x = normal(2, 3, 4, 5) * 7 + 3
    y = instance_norm(x, epsilon=1e-3)
    for n in range(2):
        for c in range(3):
            values = x[n, c].numpy()
            expected = (values - values.mean()) / np.sqrt(values.var() + 1e-3)
            np.testing.assert_allclose(y[n, c].numpy(), expected, rtol=1e-10, atol=1e-12)


def test_instance_norm_of_bfloat16_takes_statistics_in_float32() -> None:
    """A mean of 300 with deviation 1 has no digits left in bfloat16."""
    x = (normal(1, 1, 64, 64) * 4 + 300).bfloat16()
    y = instance_norm(x)
    assert y.dtype == torch.bfloat16
    expected = instance_norm(x.double())
    assert (y.double() - expected).abs().max() < 0.02
