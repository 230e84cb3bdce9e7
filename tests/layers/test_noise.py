"""Noise injection: one strength or one per channel, both 0 at first."""

import torch
from torch import Tensor

from sarigan.layers.activation import NoiseInjection


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_noise_starts_at_zero_and_is_one_scalar() -> None:
    layer, x, noise = NoiseInjection(), normal(2, 3, 4, 4).float(), normal(2, 1, 4, 4, seed=1).float()
    assert layer.strength.shape == (1,)
    assert torch.equal(layer(x, noise), x) and layer(x, None) is x
    with torch.no_grad():
        layer.strength.fill_(0.5)
    torch.testing.assert_close(layer(x, noise), x + 0.5 * noise)


def test_noise_per_channel() -> None:
    layer, x, noise = NoiseInjection(3), normal(2, 3, 4, 4).float(), normal(2, 1, 4, 4, seed=1).float()
    assert torch.equal(layer(x, noise), x)
    with torch.no_grad():
        layer.strength.copy_(torch.tensor([0.0, 1.0, -2.0])[:, None, None])
    y = layer(x, noise)
    for channel, strength in enumerate((0.0, 1.0, -2.0)):
        torch.testing.assert_close(y[:, channel], x[:, channel] + strength * noise[:, 0])
