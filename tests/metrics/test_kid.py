"""Kernel distance against a slow loop and against torch-fidelity."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from sarigan.errors import InputError
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.kid import kernel_distance, squared_mmd, tell_if_few


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
    value, spread = kernel_distance(x, y)
    assert value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-10)
    assert spread is None  # one subset has no deviation; of 59 images of one set there are many
    assert kernel_distance(x, y[:59], num_subsets=9)[1] > 0


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


def test_one_subset_of_all_has_no_spread(
    evaluation_of: Callable[..., Evaluation], smooth_images: Callable[..., np.ndarray], as_dataset: type,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """And fewer than 100 images are told, once."""
    tell_if_few.cache_clear()
    images = as_dataset(smooth_images(99, 8)), as_dataset(smooth_images(99, 8, seed=1))
    for _ in range(2):
        report = evaluate(evaluation_of(*images), ["kid_efficientnet"])
    (result,) = report.results
    assert result.spread is None and "(x.y/D + 1)^3, one subset of all, 99 images against 99" in result.protocol
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("kid_efficientnet: 99 images against 99; with fewer than 100 on a side")
    caplog.clear()
    report = evaluate(evaluation_of(as_dataset(smooth_images(120, 8)), as_dataset(smooth_images(100, 8))), ["kid_efficientnet"])
    assert report.results[0].spread > 0 and "100 subsets of 100" in report.results[0].protocol and not caplog.records
