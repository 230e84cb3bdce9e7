"""The moving average against its closed form."""

import pytest
import torch
from torch import nn

from sarigan.models.ema import ExponentialMovingAverage, ema_decay


def fill(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def constant(value: float) -> nn.Linear:
    module = nn.Linear(3, 2).double()
    fill(module, value)
    return module


def test_a_constant_source_is_approached_geometrically() -> None:
    """average_n = source + (start - source) decay^n."""
    average = ExponentialMovingAverage(source := constant(1.0))
    fill(source, 5.0)
    for n in range(1, 30):
        average.update(0.9)
        for parameter in average.module.parameters():
            torch.testing.assert_close(parameter, torch.full_like(parameter, 5 - 4 * 0.9**n), rtol=1e-12, atol=0)


@pytest.mark.parametrize("batch_size", [8, 32])
def test_a_half_life_halves_the_distance(batch_size: int) -> None:
    average = ExponentialMovingAverage(source := constant(1.0))
    fill(source, 0.0)
    for _ in range(10_000 // batch_size):
        average.update(ema_decay(batch_size, 10.0, 100.0))
    # 10,000 is no multiple of 32: the exact number of images counts.
    images = 10_000 // batch_size * batch_size
    assert average.module.bias[0].item() == pytest.approx(0.5 ** (images / 10_000), rel=1e-9)
    assert average.module.bias[0].item() == pytest.approx(0.5, rel=2e-3)


def test_published_constant() -> None:
    assert ema_decay(32, 10.0, 1e6) == pytest.approx(0.5 ** (32 / 10_000))
    assert ema_decay(32, 10.0, 1e6) == pytest.approx(0.99778, abs=1e-5)


def test_ramp_up_shortens_the_half_life_at_first() -> None:
    """At most 5% of the images seen: the full 10 kimg only from 200 kimg on."""
    assert ema_decay(16, 10.0, 20.0, ramp_up=0.05) == pytest.approx(0.5 ** (16 / 1000))
    assert ema_decay(16, 10.0, 200.0, ramp_up=0.05) == ema_decay(16, 10.0, 1e6, ramp_up=0.05) == ema_decay(16, 10.0, 0.0)
    assert ema_decay(16, 10.0, 0.0, ramp_up=0.05) == 0.0


def test_average_is_a_copy_in_evaluation_mode_without_gradients() -> None:
    source = constant(1.0)
    average = ExponentialMovingAverage(source)
    assert not average.module.training and not any(p.requires_grad for p in average.module.parameters())
    with torch.no_grad():
        source.weight.fill_(7.0)
    assert (average.module.weight == 1).all()
    assert source.weight.requires_grad


def test_buffers_stay_the_averages_own() -> None:
    source = nn.BatchNorm1d(2)
    average = ExponentialMovingAverage(source)
    source.running_mean.fill_(3.0)
    average.update(0.0)
    assert (average.module.running_mean == 0).all()
