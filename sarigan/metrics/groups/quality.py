"""Are the groups of a layer clusters of its kernels? Cosine within and between, silhouette, sizes, energy (SariGAN sec. 3.1).

Every score of a clustering is compared with random groups of the same sizes.
Legend: c channels, g groups, S [c,c] cosine similarity of kernels (Eq. 1).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.layers.kernel_similarity import kernel_similarity
from sarigan.metrics.groups.permutation_null import NullTest, check_permutations, permutation_test
from sarigan.metrics.latent_sampling import all_latents, broadcast_latent
from sarigan.models.generator import Generator
from sarigan.models.synthesis import GroupedLayer


@dataclass(frozen=True)
class LayerGroups:
    """The groups of one layer as clusters of its kernels."""

    within_cosine: float  # mean S of two channels of one group
    between_cosine: float
    separation: NullTest  # within - between
    silhouette: NullTest  # of the distance 1 - S
    size_entropy: float  # H(sizes) / log g: 1 for equal sizes, 0 for a single group
    num_nonempty: int
    num_groups: int
    target_error: float | None  # mean squared error of Eq. 2; None where groups are not learned


@dataclass(frozen=True)
class EnergyShare:
    """h_i^2 / sum h^2, the share of group i in a layer's energy: moments over latents, [g] each."""

    mean: list[float]
    variance: list[float]
    effective_groups: float  # exp(H(share)), averaged over latents


def grouped_layers(generator: Generator) -> list[GroupedLayer]:
    """The layers with groups; InputError when there is none."""
    layers = generator.grouped_layers()
    if not layers:
        raise InputError("groups: this generator has none (generator.grouping.kind=none, as StyleGAN and StyleGAN2)")
    return layers


@torch.no_grad()
def group_quality(generator: Generator, num_permutations: int = 1000, seed: int = 0) -> dict[str, LayerGroups]:
    """The groups of every grouped layer, by layer name. InputError for a generator without groups."""
    check_permutations(num_permutations)
    found = {}
    for layer in grouped_layers(generator):
        labels = group_labels(layer)
        kept = labels >= 0
        similarity = kernel_similarity(layer.kernel.detach().cpu().double())[kept][:, kept]
        count = layer.grouping.num_groups
        loss = layer.grouping.loss(layer.kernel)
        error = None if loss is None else float(loss.mean_squared_error)
        found[layer.name] = cluster_quality(similarity, labels[kept], count, num_permutations, seed, error)
    return found


def group_labels(layer: GroupedLayer) -> Tensor:
    """The group of each channel [c], on the CPU; -1 for a channel without one (`assignment: round` can leave some)."""
    membership = layer.grouping.membership().cpu()
    return torch.where(membership.sum(dim=1) > 0, membership.argmax(dim=1), -1)


def cluster_quality(
    similarity: Tensor, labels: Tensor, num_groups: int, num_permutations: int, seed: int, target_error: float | None = None
) -> LayerGroups:
    """`group_quality` of one layer from S [c,c] and labels [c]."""
    within, between = within_and_between(similarity, labels, num_groups)
    share = torch.bincount(labels, minlength=num_groups).double() / len(labels)
    occupied = share[share > 0]
    entropy = float(-(occupied * occupied.log()).sum()) / math.log(num_groups) if num_groups > 1 else math.nan

    def separation(some: Tensor) -> float:
        inside, outside = within_and_between(similarity, some, num_groups)
        return inside - outside

    def tightness(some: Tensor) -> float:
        return silhouette(1 - similarity, some, num_groups)

    return LayerGroups(
        within, between,
        permutation_test(separation, labels, num_permutations, seed),
        permutation_test(tightness, labels, num_permutations, seed),
        entropy, len(occupied), num_groups, target_error,
    )  # fmt: skip


def within_and_between(similarity: Tensor, labels: Tensor, num_groups: int) -> tuple[float, float]:
    """Mean similarity of two different channels of one group, and of two groups; NaN without such a pair."""
    member = torch.nn.functional.one_hot(labels, num_groups).to(similarity.dtype)
    sizes = member.sum(dim=0)
    inside = float(torch.einsum("ij,ig,jg->", similarity, member, member) - similarity.diagonal().sum())
    pairs = float(sizes.square().sum() - sizes.sum())
    outside = float(similarity.sum() - similarity.diagonal().sum()) - inside
    others = len(labels) ** 2 - len(labels) - pairs
    return inside / pairs if pairs else math.nan, outside / others if others else math.nan


def silhouette(distance: Tensor, labels: Tensor, num_groups: int) -> float:
    """Mean of (b - a) / max(a, b): a the mean distance to one's own group, b to the nearest other; 0 for a group of one.

    NaN when there is one group alone (Rousseeuw 1987). distance [c,c] with a zero diagonal.
    """
    member = torch.nn.functional.one_hot(labels, num_groups).to(distance.dtype)
    sizes = member.sum(dim=0)
    if int((sizes > 0).sum()) < 2:
        return math.nan
    sums = distance @ member
    own = sizes[labels]
    a = sums.gather(1, labels[:, None])[:, 0] / (own - 1).clamp_min(1)
    means = torch.where(sizes > 0, sums / sizes.clamp_min(1), math.inf).scatter(1, labels[:, None], math.inf)
    b = means.min(dim=1).values
    score = (b - a) / torch.maximum(a, b).clamp_min(1e-300)
    return float(torch.where(own > 1, score, 0.0).mean())


@torch.no_grad()
def energy_share(generator: Generator, num_samples: int = 1000, batch_size: int = 100, seed: int = 0) -> dict[str, EnergyShare]:
    """The share of each group in a layer's energy, over latents, by layer name; 0 for a group without channels."""
    layers = {layer.name: layer for layer in grouped_layers(generator)}
    if num_samples < 2:
        raise InputError(f"groups: num_samples must be at least 2, got {num_samples}")
    _, w = all_latents(generator, num_samples, batch_size, seed)
    shares: dict[str, list[Tensor]] = {name: [] for name in layers}
    for rows in w.to(generator.mean_latent).split(batch_size):
        codes = generator.synthesize(broadcast_latent(generator, rows), "none").codes
        for name, layer in layers.items():
            h = codes[name].h_scale
            assert h is not None
            occupied = layer.grouping.membership().sum(dim=0) > 0
            power = h.double().square() * occupied
            shares[name].append((power / power.sum(dim=1, keepdim=True)).cpu())
    found = {}
    for name, parts in shares.items():
        share = torch.cat(parts)
        effective = torch.exp(torch.special.entr(share).sum(dim=1)).mean()
        found[name] = EnergyShare(share.mean(dim=0).tolist(), share.var(dim=0).tolist(), float(effective))
    return found
