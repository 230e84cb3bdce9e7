"""A score of a grouping against chance: the same score of random groups of equal sizes (no number stands without its null)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError


@dataclass(frozen=True)
class NullTest:
    """A score and where it lies among the scores of random groupings."""

    score: float
    null_mean: float
    null_deviation: float
    num_null: int
    z: float  # (score - mean) / deviation; NaN where chance has no spread
    p: float  # one-sided: (1 + how many reach the score) / (1 + their number)

    @property
    def above_chance(self) -> bool:
        """p <= 0.05."""
        return self.p <= 0.05

    def least_p(self, nulls: str) -> str | None:
        """`the least that 20 partitions can give` where no p can be smaller, else None. nulls: what the null is made of."""
        return f"the least that {self.num_null} {nulls} can give" if self.p == 1 / (1 + self.num_null) else None


def permutation_test(score: Callable[[Tensor], float], groups: Tensor, num_permutations: int, seed: int) -> NullTest:
    """The score of the groups [c] of the channels, tested against those of `random_partitions`."""
    chance = [score(some) for some in random_partitions(groups, num_permutations, seed)]
    return null_test(score(groups), np.array(chance, dtype=np.float64))


def null_test(score: float, null_scores: np.ndarray) -> NullTest:
    """null_scores [P], P >= 2."""
    mean, deviation = float(null_scores.mean()), float(null_scores.std(ddof=1))
    p = (1 + int((null_scores >= score).sum())) / (1 + len(null_scores))
    z = (float(score) - mean) / deviation if deviation > 0 else math.nan
    return NullTest(float(score), mean, deviation, len(null_scores), z, p)


def random_partitions(groups: Tensor, num_partitions: int, seed: int = 0) -> list[Tensor]:
    """Shuffles of the groups [c] of the channels: other members, equal sizes."""
    source = torch.Generator().manual_seed(seed)
    return [groups.cpu()[torch.randperm(len(groups), generator=source)] for _ in range(num_partitions)]


def check_permutations(num_permutations: int) -> None:
    """InputError for fewer than two: they have no spread."""
    if num_permutations < 2:
        raise InputError(f"groups: num_permutations must be at least 2, got {num_permutations}")


def without_nan(value: Any) -> Any:
    """A record for JSON, which has no NaN: null where chance has no spread."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
