"""How far classes share channels: effective number, overlap of the strongest channels, cosine, rank correlation.

Each similarity is a mean over pairs of classes and stands beside its null: the channels of every class shuffled on their own,
which leaves each class its numbers and takes away which channel has them.
Legend: K classes, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.analysis.channel_awareness import ranks
from sarigan.errors import InputError
from sarigan.metrics.groups.permutation_null import NullTest, check_permutations, null_test


@dataclass(frozen=True)
class ClassOverlap:
    """Overlap of the classes in one layer. Matrices are [K,K], 1 on the diagonal."""

    effective_number: list[float]  # exp(H(A / sum A)) of every class: C when all channels are used alike
    top: int
    matrices: dict[str, Tensor]  # jaccard (of the `top` strongest channels), cosine, spearman
    tests: dict[str, NullTest]  # of each matrix's mean over pairs


def effective_number(values: Tensor) -> Tensor:
    """exp(H(p)) [K] of p = A / sum A, for A [K,C], not negative; 0 for a class without any."""
    total = values.double().sum(dim=1, keepdim=True)
    entropy = torch.special.entr(values.double() / total.clamp_min(1e-300)).sum(dim=1)
    return torch.where(total[:, 0] > 0, entropy.exp(), 0.0)


def strongest(values: Tensor, top: int) -> Tensor:
    """Which `top` channels of A [K,C] are strongest in each class: bool [K,C]. InputError unless 1 <= top <= C."""
    check_top(top, values.shape[1])
    member = torch.zeros(values.shape, dtype=torch.bool)
    return member.scatter(1, values.argsort(dim=1, descending=True, stable=True)[:, :top], True)


def check_top(top: int, num_channels: int, layer: str = "the layer", option: str = "--top", least: int = 1) -> None:
    """InputError unless a layer has `top` channels."""
    if not least <= top <= num_channels:
        raise InputError(f"{option} must be {least} to {num_channels}, the number of channels of {layer}, got {top}")


def jaccard(member: Tensor) -> Tensor:
    """|a and b| / |a or b| [K,K] of sets, bool [K,C]."""
    both = member.double() @ member.double().T
    sizes = both.diagonal()
    return both / (sizes[:, None] + sizes - both).clamp_min(1)


def cosine(values: Tensor) -> Tensor:
    """Cosine [K,K] of the rows of A [K,C]."""
    rows = F.normalize(values.double(), dim=1, eps=1e-300)
    return rows @ rows.T


def spearman(values: Tensor) -> Tensor:
    """Rank correlation [K,K] of the rows of A [K,C]; 0 for a constant row."""
    return cosine(centred_ranks(values))


def centred_ranks(values: Tensor) -> Tensor:
    """Of each row of A [K,C], less their mean."""
    return torch.stack([row - row.mean() for row in map(ranks, values.double())])


def class_overlap(values: Tensor, top: int, num_permutations: int = 1000, seed: int = 0) -> ClassOverlap:
    """Overlap of the classes by A [K,C], K >= 2. InputError for a `top` that the layer does not have."""
    check_permutations(num_permutations)
    num_classes, num_channels = values.shape
    # What each similarity needs of a class moves with its channels, so it is made once.
    kinds: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        "jaccard": (strongest(values, top), jaccard),
        "cosine": (values, cosine),
        "spearman": (centred_ranks(values), cosine),
    }
    source = torch.Generator().manual_seed(seed)
    chance: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(num_permutations):
        order = torch.stack([torch.randperm(num_channels, generator=source) for _ in range(num_classes)])
        for kind, (rows, similarity) in kinds.items():
            chance[kind].append(mean_of_pairs(similarity(rows.gather(1, order))))
    matrices = {kind: similarity(rows) for kind, (rows, similarity) in kinds.items()}
    tests = {kind: null_test(mean_of_pairs(matrix), np.array(chance[kind])) for kind, matrix in matrices.items()}
    return ClassOverlap(effective_number(values).tolist(), top, matrices, tests)


def mean_of_pairs(matrix: Tensor) -> float:
    """The mean of the entries above the diagonal of [K,K]."""
    upper = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return float(matrix[upper[0], upper[1]].mean())


def nearest_classes(matrix: Tensor, names: Sequence[str]) -> dict[str, str]:
    """For every class the other one that it is most like."""
    other = matrix.clone().fill_diagonal_(-torch.inf).argmax(dim=1).tolist()
    return {name: names[k] for name, k in zip(names, other, strict=True)}
