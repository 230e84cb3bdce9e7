"""Kernel distance against a slow loop and against torch-fidelity."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from sarigan.errors import InputError
from sarigan.metrics.kid import kernel_distance, squared_mmd


def features(count: int, shift: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 9)) + shift).float()


def test_unbiased_estimate_by_loops() -> None:
    x, y = features(7, 0, 0).double().numpy(), features(7, 0.5, 1).double().numpy()

    def kernel(p: np.ndarray, q: np.ndarray) -> float:
        return (float(p @ q) / 9 + 1) ** 3

    pairs = [(i, j) for i in range(7) for j in range(7)]
    expected = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs if i != j) / 42
    expected -= 2 * sum(kernel(x[i], y[j]) for i, j in pairs) / 49
    assert float(squared_mmd(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(expected, rel=1e-12)


def test_full_subset_equals_torch_fidelity() -> None:
    x, y = features(60, 0, 2), features(60, 0.3, 3)
    expected = kid_features_to_metric(x.double(), y.double(), kid_subsets=1, kid_subset_size=60, rng_seed=1, verbose=False)
    value, spread = kernel_distance(x, y, num_subsets=1)
    assert value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-10)
    assert spread == 0


def test_subsets_agree_with_the_whole_and_repeat() -> None:
    x, y = features(400, 0, 4), features(500, 0.3, 5)
    whole = float(squared_mmd(x, y[:400]))
    value, spread = kernel_distance(x, y, num_subsets=60, subset_size=100, seed=1)
    assert abs(value - whole) < 4 * spread / 60**0.5 + 0.05 * whole and spread > 0
    assert (value, spread) == kernel_distance(x, y, num_subsets=60, subset_size=100, seed=1)
    assert value != kernel_distance(x, y, num_subsets=60, subset_size=100, seed=2)[0]


def test_too_few() -> None:
    with pytest.raises(InputError, match="at least 2 images"):
        kernel_distance(features(1, 0, 0), features(9, 0, 0))
