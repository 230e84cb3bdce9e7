"""Inception score against torch-fidelity and closed forms."""

import math

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from sarigan.metrics.inception_score import ClassStatistics


def score(logits: torch.Tensor, splits: int, shuffle: bool, batch: int = 17) -> tuple[float, float]:
    statistics = ClassStatistics(len(logits), logits.shape[1], splits, shuffle)
    for positions in torch.arange(len(logits)).split(batch):
        statistics.update(positions, logits[positions])
    return statistics.score()


@pytest.mark.parametrize("splits", [1, 4, 10])
def test_equals_torch_fidelity(splits: int) -> None:
    logits = torch.randn(203, 11, generator=torch.Generator().manual_seed(0)) * 3
    expected = isc_features_to_metric(logits, splits, shuffle=False)
    found = score(logits, splits, shuffle=False)
    assert found[0] == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found[1] == pytest.approx(expected["inception_score_std"], rel=1e-6, abs=1e-12)


def test_sure_and_balanced_is_the_number_of_classes() -> None:
    logits = torch.eye(8).repeat(25, 1) * 500
    assert score(logits, 1, shuffle=True)[0] == pytest.approx(8)


def test_undecided_is_one() -> None:
    assert score(torch.zeros(50, 8), 5, shuffle=True) == pytest.approx((1, 0))


def test_splits_of_a_sorted_set_are_mixed() -> None:
    """In order of class every split would see one class, and the score be 1."""
    logits = torch.eye(4).repeat_interleave(100, dim=0) * 500
    assert score(logits, 4, shuffle=False)[0] == pytest.approx(1)
    assert score(logits, 4, shuffle=True)[0] > math.exp(0.95 * math.log(4))
