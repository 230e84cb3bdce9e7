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
from sarigan.layers.kernel_similarity import kernel_similarity
from sarigan.metrics.groups.metric import churn, group_stability, partition_stability
from sarigan.metrics.groups.quality import (
    cluster_quality,
    energy_share,
    group_labels,
    group_quality,
    silhouette,
    within_and_between,
)
from sarigan.metrics.latent_sampling import all_latents
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


def test_silhouette_of_pairs() -> None:
    """Groups of two have one other member each: a is its distance, not half of it."""
    distance = torch.tensor([[0, 1, 4, 5], [1, 0, 6, 7], [4, 6, 0, 2], [5, 7, 2, 0]], dtype=torch.float64)
    scores = [(b - a) / b for a, b in ((1, 4.5), (1, 6.5), (2, 5), (2, 6))]
    labels = torch.tensor([0, 0, 1, 1])
    assert silhouette(distance, labels, 2) == pytest.approx(np.mean(scores))
    assert silhouette(torch.zeros(4, 4, dtype=torch.float64), labels, 2) == 0  # equal kernels


def test_channels_without_a_group_are_left_out(tiny_config: Build) -> None:
    """A tie that rounding leaves without a group: its label is -1, and the scores are those of the other channels."""
    torch.manual_seed(0)
    generator = Generator(tiny_config("generator.grouping.assignment=round").generator)
    layer = generator.grouped_layers()[0]
    with torch.no_grad():
        layer.grouping.logits.copy_(torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])] * 3)
        layer.grouping.logits[4] = torch.tensor([1.0, 1.0, -1.0])
    labels = group_labels(layer)
    assert labels.tolist() == [0, 1, 2, 0, -1, 2, 0, 1]
    kept = torch.tensor([0, 1, 2, 3, 5, 6, 7])
    similarity = kernel_similarity(layer.kernel.detach().double())[kept][:, kept]
    expected = within_and_between(similarity, labels[kept], 3)
    found = group_quality(generator, num_permutations=5)[layer.name]
    assert (found.within_cosine, found.between_cosine) == pytest.approx(expected, rel=1e-9)


def test_size_entropy() -> None:
    found = cluster_quality(torch.eye(8, dtype=torch.float64), torch.tensor([0] * 6 + [1] * 2), 4, 5, 0)
    assert found.size_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4))
    assert found.num_nonempty == 2


def test_stability() -> None:
    """Renaming groups changes nothing; moving three of forty channels is a churn of 3/40."""
    labels = torch.arange(4).repeat_interleave(10)
    renamed = (labels + 1) % 4
    same = partition_stability(labels, renamed, num_permutations=100)
    assert (same.adjusted_rand_index, same.churn.score) == (1, 0)
    moved = renamed.clone()
    moved[[0, 11, 22]] = renamed[[39, 0, 39]]
    found = partition_stability(labels, moved, num_permutations=100)
    assert found.churn.score == pytest.approx(3 / 40)
    assert found.adjusted_rand_index == pytest.approx(adjusted_rand_score(labels.numpy(), moved.numpy()))
    assert 0.4 < found.churn.null_mean < 0.75 and found.churn.z < -5
    # A group split in two: half of it has to go.
    assert churn(torch.zeros(10, dtype=torch.long), torch.arange(10) // 5) == 0.5


def test_of_generators(tiny_config: Build) -> None:
    torch.manual_seed(0)
    config = tiny_config().generator
    first, second = Generator(config), Generator(config)
    quality = group_quality(first, num_permutations=20)
    stability = group_stability(first, first, num_permutations=20)
    assert list(quality) == list(stability) == ["8x8.up", "8x8.conv"]
    assert all(layer.adjusted_rand_index == 1 and layer.churn.score == 0 for layer in stability.values())
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


def test_energy_share_varies_with_the_latents(tiny_config: Build) -> None:
    """h_i^2 / sum h^2 by a loop over the codes of every latent; the variance over latents is that of a sample."""
    torch.manual_seed(1)
    generator = Generator(tiny_config().generator).double()
    for layer in generator.grouped_layers():
        with torch.no_grad():  # two groups: one of a single channel
            layer.grouping.logits.zero_()
            layer.grouping.logits[:, 0], layer.grouping.logits[3, 1] = 1.0, 2.0
    _, w = all_latents(generator, 10, 4, 5)
    codes = generator.synthesize(w[:, None].expand(-1, generator.num_latents, -1), "none").codes
    found = energy_share(generator, num_samples=10, batch_size=4, seed=5)
    for name, share in found.items():
        power = codes[name].h_scale.detach().numpy() ** 2
        power[:, 2] = 0  # it holds no channel
        shares = power / power.sum(axis=1, keepdims=True)
        assert share.mean == pytest.approx(shares.mean(axis=0), rel=1e-9) and min(share.mean[:2]) > 0.01
        assert share.variance == pytest.approx(shares.var(axis=0, ddof=1), rel=1e-9)
        entropy = -sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0) for p in shares.T)
        assert share.effective_groups == pytest.approx(np.exp(entropy).mean(), rel=1e-9)


def test_target_error_is_that_of_equation_2(tiny_config: Build) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config().generator)
    found = group_quality(generator, num_permutations=2)
    for layer in generator.grouped_layers():
        expected = layer.grouping.loss(layer.kernel).mean_squared_error
        assert found[layer.name].target_error == pytest.approx(float(expected)) and found[layer.name].num_groups == 3
    fixed = Generator(tiny_config("generator.grouping.kind=contiguous").generator)
    assert group_quality(fixed, num_permutations=2)["8x8.up"].target_error is None


def test_wrong_input(tiny_config: Build) -> None:
    plain = Generator(tiny_config("generator.grouping.kind=none").generator)
    with pytest.raises(InputError, match="groups: this generator has none"):
        group_quality(plain)
    grouped = Generator(tiny_config().generator)
    other = Generator(tiny_config("generator.channel_max=4").generator)
    with pytest.raises(InputError, match="checkpoints of one architecture can be compared"):
        group_stability(grouped, other)
    with pytest.raises(InputError, match="num_samples must be at least 2, got 1"):
        energy_share(grouped, num_samples=1)
    assert len(energy_share(grouped, num_samples=2)) == len(group_quality(grouped, num_permutations=2)) == 2
    with pytest.raises(InputError, match="num_permutations must be at least 2, got 1"):
        group_quality(grouped, num_permutations=1)
