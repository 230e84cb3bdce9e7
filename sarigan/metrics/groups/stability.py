"""Do two checkpoints have the same groups? Adjusted Rand index and churn, layer by layer.

The adjusted Rand index (Hubert & Arabie 1985) is 1 for the same partition and 0 in the mean for random ones of the same
sizes. Churn is the share of channels that change group when groups are matched as well as can be (Hungarian algorithm);
two random partitions have churn too, so that of random ones of the same sizes stands beside it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.groups.permutation_null import NullTest, check_permutations, permutation_test
from sarigan.metrics.groups.quality import group_labels, grouped_layers
from sarigan.models.generator import Generator


@dataclass(frozen=True)
class LayerStability:
    """How one layer's groups differ between two generators."""

    adjusted_rand_index: float
    churn: NullTest


@torch.no_grad()
def group_stability(
    first: Generator, second: Generator, num_permutations: int = 1000, seed: int = 0
) -> dict[str, LayerStability]:
    """By layer name. InputError when one has no groups or their layers differ in name or width."""
    check_permutations(num_permutations)
    check_same_layers(first, second)
    labels = [{layer.name: group_labels(layer) for layer in grouped_layers(generator)} for generator in (first, second)]
    return {name: partition_stability(a, labels[1][name], num_permutations, seed) for name, a in labels[0].items()}


def check_same_layers(first: Generator, second: Generator) -> None:
    """InputError when one has no groups or their layers differ in name or width."""
    shapes = [
        {layer.name: layer.grouping.num_channels for layer in grouped_layers(generator)} for generator in (first, second)
    ]
    if shapes[0] != shapes[1]:
        raise InputError(f"groups: checkpoints of one architecture can be compared, got layers {shapes[0]} and {shapes[1]}")


def partition_stability(a: Tensor, b: Tensor, num_permutations: int = 1000, seed: int = 0) -> LayerStability:
    """Of two labellings [c] of the same channels; names of groups do not matter."""
    from sklearn.metrics import adjusted_rand_score

    index = float(adjusted_rand_score(a.numpy(), b.numpy()))
    return LayerStability(index, permutation_test(lambda some: churn(a, some), b, num_permutations, seed))


def churn(a: Tensor, b: Tensor) -> float:
    """Share of channels outside the best one-to-one matching of groups."""
    from scipy.optimize import linear_sum_assignment

    _, rows = torch.unique(a, return_inverse=True)
    _, columns = torch.unique(b, return_inverse=True)
    table = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1), dtype=np.int64)
    np.add.at(table, (rows.numpy(), columns.numpy()), 1)
    matched = linear_sum_assignment(table, maximize=True)
    return 1 - float(table[matched].sum()) / len(a)
