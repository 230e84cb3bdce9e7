"""Overlap of classes by hand and against scipy; chance where classes share nothing but their numbers."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sarigan.analysis.class_overlap import (
    class_overlap,
    cosine,
    effective_number,
    jaccard,
    mean_of_pairs,
    nearest_classes,
    spearman,
    strongest,
)
from sarigan.errors import InputError


def test_by_hand() -> None:
    values = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert effective_number(values).tolist() == pytest.approx([4, 1, 0])
    member = strongest(torch.tensor([[5.0, 1, 4, 2], [1, 2, 9, 8]]), 2)
    assert member.tolist() == [[True, False, True, False], [False, False, True, True]]
    assert jaccard(member).tolist() == [[1, pytest.approx(1 / 3)], [pytest.approx(1 / 3), 1]]
    assert mean_of_pairs(torch.tensor([[1.0, 2, 4], [2, 1, 6], [4, 6, 1]])) == 4
    assert nearest_classes(torch.tensor([[1.0, 0.2, 0.4], [0.2, 1, 0.1], [0.4, 0.1, 1]]), ["a", "b", "c"]) == {
        "a": "c", "b": "a", "c": "a",
    }  # fmt: skip


def test_rank_correlation_and_cosine_are_those_of_other_libraries() -> None:
    values = np.random.default_rng(0).integers(0, 5, (4, 30)).astype(float)  # with ties
    assert np.allclose(spearman(torch.from_numpy(values)).numpy(), spearmanr(values.T).statistic)
    norms = np.linalg.norm(values, axis=1)
    assert np.allclose(cosine(torch.from_numpy(values)).numpy(), values @ values.T / norms[:, None] / norms)


def test_chance() -> None:
    """Classes that share channels lie above chance, unrelated ones within it, and those that avoid each other below."""
    random = torch.Generator().manual_seed(1)
    base = torch.rand(1, 60, generator=random)
    alike = class_overlap(base + 0.3 * torch.rand(4, 60, generator=random), 10, 200)
    assert all(test.p < 0.02 and test.z > 3 for test in alike.tests.values())
    unrelated = class_overlap(torch.rand(4, 60, generator=random), 10, 200)
    assert all(abs(test.z) < 4 for test in unrelated.tests.values())
    apart = class_overlap(torch.eye(4).repeat_interleave(15, dim=1) + 0.01 * torch.rand(4, 60, generator=random), 15, 200)
    assert apart.tests["jaccard"].score == 0 and apart.tests["jaccard"].p == 1
    assert alike.tests["jaccard"].null_mean == pytest.approx(10 / 110, abs=0.02)  # about k / (2C - k)
    assert class_overlap(base + torch.zeros(3, 1), 60, 2).tests["jaccard"].score == 1


@pytest.mark.parametrize("top", [0, 61])
def test_more_channels_than_there_are(top: int) -> None:
    with pytest.raises(InputError, match=f"--top must be 1 to 60, the number of channels of the layer, got {top}"):
        class_overlap(torch.rand(2, 60), top)
