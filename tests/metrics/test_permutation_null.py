"""The null of a grouping: random groups of equal sizes, by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.metrics.groups.permutation_null import null_test, permutation_test, random_partitions


def test_null() -> None:
    test = null_test(3.0, np.array([1.0, 2.0, 3.0, 4.0]))
    assert test.p == pytest.approx(3 / 5) and test.z == pytest.approx(0.5 / np.std([1, 2, 3, 4], ddof=1))
    assert test.least_p("partitions") is None
    assert null_test(4.5, np.array([1.0, 2.0, 3.0, 4.0])).least_p("partitions") == "the least that 4 partitions can give"
    groups = torch.tensor([0, 0, 0, 1, 2, 2])
    partitions = random_partitions(groups, 50)
    assert all(torch.equal(torch.bincount(p), torch.bincount(groups)) for p in partitions)
    assert len({tuple(p.tolist()) for p in partitions}) > 20


def test_permutation_test_by_hand() -> None:
    """value, mean, and distance in deviations of a sample; the score is asked for shuffles of the labels alone."""
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    seen: list[Tensor] = []

    def score(some: Tensor) -> float:
        seen.append(some)
        return float(some[0] * 10 + some[1])

    found = permutation_test(score, labels, num_permutations=40, seed=3)
    chance = [float(some[0] * 10 + some[1]) for some in seen if some is not labels]
    assert len(chance) == 40 and all(torch.equal(some.sort().values, labels) for some in seen)
    assert found.score == 0 and found.null_mean == pytest.approx(np.mean(chance)) and np.mean(chance) > 1
    assert found.z == pytest.approx(-np.mean(chance) / np.std(chance, ddof=1))
    assert math.isnan(permutation_test(lambda some: 1.0, labels, 5, 0).z)
