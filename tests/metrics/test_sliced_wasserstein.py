"""Sliced Wasserstein distance against optimal assignments by scipy and against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sarigan.errors import InputError
from sarigan.metrics.sliced_wasserstein import sliced_wasserstein, wasserstein_1d


def by_assignment(a: np.ndarray, b: np.ndarray) -> float:
    """Every point repeated until there are equally many, then the cheapest pairing of them."""
    size = math.lcm(len(a), len(b))
    a, b = np.repeat(a, size // len(a)), np.repeat(b, size // len(b))
    cost = (a[:, None] - b[None, :]) ** 2
    return float(cost[linear_sum_assignment(cost)].mean())


@pytest.mark.parametrize(("n", "m"), [(7, 7), (6, 4), (5, 12), (1, 3)])
def test_one_dimension_equals_optimal_assignment(n: int, m: int) -> None:
    random = np.random.default_rng(n * m)
    a, b = random.standard_normal((n, 3)), random.standard_normal((m, 3)) + 0.4
    found = wasserstein_1d(torch.from_numpy(a), torch.from_numpy(b))
    assert found.tolist() == pytest.approx([by_assignment(a[:, i], b[:, i]) for i in range(3)], rel=1e-12)


def test_a_shift() -> None:
    """W_2 along p of a set and itself shifted by v is |p.v|, and the mean of (p.v)^2 over directions is |v|^2 / D."""
    a = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 5)))
    v = torch.tensor([3.0, 0, 0, 4.0, 0], dtype=torch.float64)
    value, error = sliced_wasserstein(a + v, a, num_projections=4000)
    assert abs(value - 5 / 5**0.5) < 4 * error and 0 < error < 0.1


def test_gaussians() -> None:
    """N(0,I) and N(m,s^2 I): W_2^2 along p is (p.m)^2 + (s-1)^2."""
    random = np.random.default_rng(1)
    a, b = random.standard_normal((20_000, 4)), 1.5 * random.standard_normal((15_000, 4)) + [2, 0, 0, 0]
    value, error = sliced_wasserstein(torch.from_numpy(b), torch.from_numpy(a), num_projections=300)
    assert value == pytest.approx((4 / 4 + 0.25) ** 0.5, abs=4 * error + 0.02)


def test_zero_symmetric_and_repeatable() -> None:
    random = np.random.default_rng(2)
    a, b = (torch.from_numpy(random.standard_normal((n, 4)).astype(np.float32) + 100) for n in (30, 20))
    assert sliced_wasserstein(a, a) == (0.0, 0.0)
    assert sliced_wasserstein(a, a[torch.randperm(30)])[0] == pytest.approx(0, abs=1e-9)
    assert sliced_wasserstein(a, b)[0] == pytest.approx(sliced_wasserstein(b, a)[0], rel=1e-9)
    assert sliced_wasserstein(a, b) == sliced_wasserstein(a, b) != sliced_wasserstein(a, b, seed=1)


def test_no_image() -> None:
    with pytest.raises(InputError, match="needs an image of each kind, got 0 and 3"):
        sliced_wasserstein(torch.zeros(0, 2), torch.zeros(3, 2))
