"""The Frechet distance against closed forms and against 50 digits."""

import mpmath
import numpy as np
import pytest
import torch

from sarigan.metrics.feature_statistics import Moments, StreamedMoments
from sarigan.metrics.frechet import frechet_distance, root_trace


def gaussian(mean: torch.Tensor, covariance: torch.Tensor, count: int = 11) -> Moments:
    return Moments(count, mean, covariance * (count - 1))


def test_diagonal_gaussians() -> None:
    """sum (m - m')^2 + sum (s - s')^2."""
    random = np.random.default_rng(0)
    m, n = torch.from_numpy(random.standard_normal((2, 20)))
    s, t = torch.from_numpy(random.uniform(0, 3, (2, 20)))
    expected = ((m - n) ** 2).sum() + ((s - t) ** 2).sum()
    found = frechet_distance(gaussian(m, torch.diag(s**2)), gaussian(n, torch.diag(t**2)))
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_two_dimensions() -> None:
    """tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)) for 2x2 matrices."""
    a, b = (x @ x.T for x in torch.from_numpy(np.random.default_rng(1).standard_normal((2, 2, 2))))
    expected = ((a @ b).trace() + 2 * (a @ b).det().sqrt()).sqrt()
    assert float(root_trace(a, b)) == pytest.approx(float(expected), rel=1e-12)


def test_distance_of_a_set_to_itself() -> None:
    features = torch.randn(30, 100, generator=torch.Generator().manual_seed(0))
    moments = StreamedMoments(100)
    moments.update(features)
    assert abs(frechet_distance(moments.merged(), moments.merged())) < 1e-10


def test_fewer_samples_than_dimensions() -> None:
    """Rank-deficient covariances. tr (AB)^(1/2) is the nuclear norm of X Y^T for A = X^T X, B = Y^T Y, in 50 digits."""
    random = np.random.default_rng(2)
    x, y = random.standard_normal((6, 40)), random.standard_normal((8, 40)) * 3
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with mpmath.workdps(50):
        product = mpmath.matrix(x.tolist()) * mpmath.matrix(y.tolist()).T
        gram = product * product.T
        expected = float(sum(mpmath.sqrt(abs(v)) for v in mpmath.eigsy(gram, eigvals_only=True)))
    found = float(root_trace(torch.from_numpy(x.T @ x), torch.from_numpy(y.T @ y)))
    assert found == pytest.approx(expected, rel=1e-10)


def test_constant_features() -> None:
    """All images alike: no variance at all."""
    zero = torch.zeros(4, 4, dtype=torch.float64)
    mean = torch.arange(4, dtype=torch.float64)
    assert frechet_distance(gaussian(mean, zero), gaussian(mean + 1, zero)) == pytest.approx(4)
