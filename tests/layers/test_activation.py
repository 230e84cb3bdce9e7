"""Bias and leaky ReLU against numpy."""

import math

import numpy as np
import torch
from torch import Tensor

from sarigan.layers.activation import BiasLeakyReLU


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bias_leaky_relu() -> None:
    layer = BiasLeakyReLU(3)
    assert (layer.bias == 0).all()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, -1.0, 0.5]))
    x = normal(2, 3, 4, 4).float()
    shifted = x.numpy() + np.array([1.0, -1.0, 0.5], dtype=np.float32)[None, :, None, None]
    expected = np.where(shifted > 0, shifted, 0.2 * shifted)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected * math.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(layer(x, gain=1.0).detach().numpy(), expected, rtol=1e-6)
