"""A score against chance: the same score of random groups of equal sizes (no number without its null)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class NullTest:
    """A score and where it lies among the scores of random groupings."""

    score: float
    null_mean: float
    null_deviation: float
    num_null: int
    z: float  # (score - mean) / deviation
    p: float  # one-sided: (1 + how many reach the score) / (1 + their number)

    @property
    def above_chance(self) -> bool:
        """p <= 0.05."""
        return self.p <= 0.05


def null_test(score: float, null_scores: np.ndarray) -> NullTest:
    """null_scores [P], P >= 2."""
    mean, deviation = float(null_scores.mean()), float(null_scores.std(ddof=1))
    p = (1 + int((null_scores >= score).sum())) / (1 + len(null_scores))
    return NullTest(float(score), mean, deviation, len(null_scores), (float(score) - mean) / max(deviation, 1e-12), p)


def random_partitions(groups: Tensor, num_partitions: int, seed: int = 0) -> list[Tensor]:
    """Shuffles of the groups [c] of the channels: other members, equal sizes."""
    source = torch.Generator().manual_seed(seed)
    return [groups.cpu()[torch.randperm(len(groups), generator=source)] for _ in range(num_partitions)]
