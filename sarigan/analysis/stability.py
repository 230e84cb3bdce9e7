"""Do two models have the same groups? Of one run over training: the same channels. Of two seeds: groups that do the same.

Channels of two seeds correspond by nothing, so the adjusted Rand index and the churn of `metrics.groups.metric` say something
of checkpoints of one run alone. What edits of groups do can be compared between any two models: the share of the change on each
part, less its mean over groups, matched one to one; the score is the mean cosine of the matched. Its null are random groups of
both models. Legend: P partitions, G groups, K parts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from sarigan.metrics.groups.metric import LayerStability, partition_stability
from sarigan.metrics.groups.permutation_null import NullTest, null_test


@dataclass(frozen=True)
class Stability:
    """One grouping of one layer in two models."""

    channels: LayerStability | None  # None where the layers differ in width
    edits: NullTest


def stability(
    groups: tuple[Tensor, Tensor], shares: tuple[Tensor, Tensor], null: tuple[Tensor, Tensor], num_permutations: int
) -> Stability:
    """groups [c] of both models, shares [G,K] of the change under their edits, and null [P,G,K] of random partitions."""
    channels = None
    if len(groups[0]) == len(groups[1]):
        channels = partition_stability(groups[0], groups[1], num_permutations)
    chance = [matched_cosine(a, b) for a, b in zip(*null, strict=False)]
    return Stability(channels, null_test(matched_cosine(*shares), np.array(chance)))


def matched_cosine(first: Tensor, second: Tensor) -> float:
    """Mean cosine of the rows of two [G,K], less their column means, in the one-to-one matching that maximises it."""
    rows = [F.normalize((x - x.mean(dim=0)).double(), dim=1) for x in (first, second)]
    cosine = (rows[0] @ rows[1].t()).numpy()
    matched = linear_sum_assignment(cosine, maximize=True)
    return float(cosine[matched].mean())
