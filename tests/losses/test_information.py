"""The information loss: its convention, its units, and the terms of R^2."""

import math

import numpy as np
import pytest
import torch

from sarigan.losses.gan import explained_variance_terms, information_loss

N, D = 6, 4


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(N, D, generator=source, dtype=torch.float64).requires_grad_(True)  # noqa: E731
    return draw(), draw()


def test_mean_convention(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, t = (x.detach().numpy() for x in pair)
    expected = np.mean([(q[n, d] - t[n, d]) ** 2 for n in range(N) for d in range(D)])
    assert information_loss(*pair).item() == pytest.approx(expected, rel=1e-12)


def test_nats_are_the_gaussian_negative_log_likelihood_without_its_constant(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, t = pair
    log_density = torch.distributions.Normal(q, 1.0).log_prob(t).sum(dim=1)
    expected = -(log_density + D / 2 * math.log(2 * math.pi)).mean()
    torch.testing.assert_close(information_loss(q, t, nats=True), expected)
    assert information_loss(q, t, nats=True).item() == pytest.approx(D / 2 * information_loss(q, t).item(), rel=1e-12)


def test_no_gradient_to_the_target(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, t = pair
    gradient, to_target = torch.autograd.grad(information_loss(q, t), [q, t], allow_unused=True)
    torch.testing.assert_close(gradient, 2 * (q - t).detach() / (N * D))
    assert to_target is None


def test_explained_variance(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, t = (x.detach().numpy() for x in pair)
    error, variance = explained_variance_terms(*pair)
    assert error.item() == pytest.approx(((q - t) ** 2).mean())
    assert variance.item() == pytest.approx(t.var(axis=0, ddof=1).mean())
    assert not error.requires_grad and not variance.requires_grad


def test_the_mean_predictor_has_r2_of_zero_on_average() -> None:
    """Over shards of any size: the unbiased variance of a shard and the error of the true mean agree in expectation."""
    source = torch.Generator().manual_seed(0)
    target = torch.randn(40_000, 3, generator=source, dtype=torch.float64) * 2 + 5
    terms = [explained_variance_terms(torch.full_like(part, 5.0), part) for part in target.split(4)]
    error, variance = (float(torch.stack(values).mean()) for values in zip(*terms, strict=True))
    assert abs(1 - error / variance) < 0.02
