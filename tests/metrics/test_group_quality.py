"""Scores of clusterings against planted clusters, slow definitions and scikit-learn."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor

from sarigan.errors import InputError
from sarigan.layers.grouping import kernel_similarity
from sarigan.metrics.group_quality import (
    cluster_quality,
    energy_share,
    group_quality,
    silhouette,
    within_and_between,
)
from sarigan.metrics.group_stability import churn, group_stability, partition_stability
from sarigan.models.generator import Generator

Build = Callable[..., Any]


def planted(num_groups: int = 4, size: int = 10, cosine: float = 0.3) -> tuple[Tensor, Tensor]:
    """Kernels [c,d] of groups of equal size, and their labels."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(num_groups).repeat_interleave(size)
    centres = torch.nn.functional.normalize(torch.randn(num_groups, 400, generator=source, dtype=torch.float64), dim=1)
    own = torch.nn.functional.normalize(torch.randn(len(labels), 400, generator=source, dtype=torch.float64), dim=1)
    return math.sqrt(cosine) * centres[labels] + math.sqrt(1 - cosine) * own, labels


def test_planted_groups_against_random_ones() -> None:
    kernels, labels = planted()
    similarity = kernel_similarity(kernels)
    found = cluster_quality(similarity, labels, 4, num_permutations=200, seed=0)
    assert found.within_cosine == pytest.approx(0.3, abs=0.03)
    assert found.between_cosine == pytest.approx(0, abs=0.03)
    assert found.separation.z > 10 and found.silhouette.z > 10
    assert found.size_entropy == pytest.approx(1)
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    assert abs(cluster_quality(similarity, mixed, 4, num_permutations=200, seed=0).separation.z) < 4


def test_within_and_between_against_loops() -> None:
    source = torch.Generator().manual_seed(2)
    similarity = kernel_similarity(torch.randn(9, 5, generator=source, dtype=torch.float64))
    labels = torch.tensor([0, 0, 1, 1, 1, 3, 3, 0, 3])
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    inside = [float(similarity[i, j]) for i, j in pairs if labels[i] == labels[j]]
    outside = [float(similarity[i, j]) for i, j in pairs if labels[i] != labels[j]]
    assert within_and_between(similarity, labels, 4) == pytest.approx((np.mean(inside), np.mean(outside)), rel=1e-12)


def test_silhouette_against_scikit_learn() -> None:
    source = torch.Generator().manual_seed(3)
    distance = 1 - kernel_similarity(torch.randn(30, 6, generator=source, dtype=torch.float64))
    distance.fill_diagonal_(0)
    labels = torch.randint(0, 5, (30,), generator=source)
    labels[0] = 6  # a group of one; group 5 is empty
    expected = silhouette_score(distance.numpy(), labels.numpy(), metric="precomputed")
    assert silhouette(distance, labels, 7) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(silhouette(distance, torch.zeros(30, dtype=torch.long), 7))


def test_size_entropy() -> None:
    found = cluster_quality(torch.eye(8, dtype=torch.float64), torch.tensor([0] * 6 + [1] * 2), 4, 5, 0)
    assert found.size_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert found.num_nonempty == 2


def test_stability() -> None:
    """Renaming groups changes nothing; moving three of forty channels is a churn of 3/40."""
    labels = torch.arange(4).repeat_interleave(10)
    renamed = (labels + 1) % 4
    same = partition_stability(labels, renamed, num_permutations=100)
    assert (same.adjusted_rand_index, same.churn.value) == (1, 0)
    moved = renamed.clone()
    moved[[0, 11, 22]] = renamed[[39, 0, 39]]
    found = partition_stability(labels, moved, num_permutations=100)
    assert found.churn.value == pytest.approx(3 / 40)
    assert found.adjusted_rand_index == pytest.approx(adjusted_rand_score(labels.numpy(), moved.numpy()))
    assert 0.4 < found.churn.chance < 0.75 and found.churn.z < -5
    # A group split in two: half of it has to go.
    assert churn(torch.zeros(10, dtype=torch.long), torch.arange(10) // 5) == 0.5


def test_of_generators(tiny_config: Build) -> None:
    torch.manual_seed(0)
    config = tiny_config().generator
    first, second = Generator(config), Generator(config)
    quality = group_quality(first, num_permutations=20)
    stability = group_stability(first, first, num_permutations=20)
    assert list(quality) == list(stability) == ["8x8.up", "8x8.conv"]
    assert all(layer.adjusted_rand_index == 1 and layer.churn.value == 0 for layer in stability.values())
    assert group_stability(first, second, num_permutations=20)["8x8.up"].adjusted_rand_index < 1
    for layer in first.grouped_layers():
        sizes = torch.bincount(layer.grouping.membership().argmax(dim=1), minlength=3)
        assert quality[layer.name].num_nonempty == int((sizes > 0).sum())


def test_energy_share_of_codes_set_by_hand(tiny_config: Build) -> None:
    """h = (1, 2, 3) for every latent, the last group without channels: shares 1/5, 4/5, 0."""
    generator = Generator(tiny_config().generator).double()
    layer = generator.grouped_layers()[0]
    style = generator.synthesis.blocks["8x8"].up.style
    with torch.no_grad():
        style.h_scale.weight.zero_()
        style.h_scale.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.grouping.logits[:, 2] = -100
        layer.grouping.logits[0, 0], layer.grouping.logits[1, 1] = 100, 100
    share = energy_share(generator, num_samples=8)[layer.name]
    assert share.mean == pytest.approx([0.2, 0.8, 0])
    assert share.variance == pytest.approx([0, 0, 0], abs=1e-20)
    assert share.effective_groups == pytest.approx(math.exp(-(0.2 * math.log(0.2) + 0.8 * math.log(0.8))))


def test_wrong_input(tiny_config: Build) -> None:
    plain = Generator(tiny_config("generator.grouping.kind=none").generator)
    with pytest.raises(InputError, match="groups: this generator has none"):
        group_quality(plain)
    grouped = Generator(tiny_config().generator)
    other = Generator(tiny_config("generator.channel_max=4").generator)
    with pytest.raises(InputError, match="checkpoints of one architecture can be compared"):
        group_stability(grouped, other)
    with pytest.raises(InputError, match="num_permutations must be at least 2, got 1"):
        group_quality(grouped, num_permutations=1)
