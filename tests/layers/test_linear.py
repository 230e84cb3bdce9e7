"""Equalised linear layers against numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.layers.linear import EqualizedLinear


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["linear", "leaky_relu"])
@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_linear_formula(multiplier: float, activation: str) -> None:
    torch.manual_seed(0)
    layer = EqualizedLinear(7, 5, multiplier, bias_init=1.0, activation=activation).double()
    x = normal(3, 7)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    y = x.numpy() @ (weight * multiplier / math.sqrt(7)).T + bias * multiplier
    if activation == "leaky_relu":
        y = np.where(y > 0, y, 0.2 * y) * math.sqrt(2)
    np.testing.assert_allclose(layer(x).detach().numpy(), y, rtol=1e-12)


@pytest.mark.parametrize("multiplier", [1.0, 0.01])
def test_linear_starts_with_unit_gain_and_its_bias(multiplier: float) -> None:
    """Whatever the learning-rate multiplier; stored weights are 1/m larger, so that a step of Adam moves m times less."""
    torch.manual_seed(0)
    layer = EqualizedLinear(400, 300, multiplier, bias_init=1.0)
    assert layer.weight.detach().std().item() == pytest.approx(1 / multiplier, rel=0.02)
    y = layer(torch.randn(500, 400)).detach()
    assert y.mean().item() == pytest.approx(1.0, abs=0.02) and y.std().item() == pytest.approx(1.0, abs=0.02)
