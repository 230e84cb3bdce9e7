"""Kernel distance (Binkowski et al. 2018): unbiased squared MMD with the kernel (x.y / D + 1)^3, over random subsets."""

import logging
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.seeding import derive_seed

NUM_SUBSETS, SUBSET_SIZE = 100, 1000
FEW_IMAGES = 100
log = logging.getLogger(__name__)


def kernel_distance(
    a: Tensor, b: Tensor, num_subsets: int = NUM_SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> tuple[float, float | None]:
    """Mean and standard deviation over subsets of at most `subset_size` of features a [N,D] and b [M,D].

    Where a subset is all of both, there is one, and no deviation: None. The subsets are functions of the seed.
    Raises InputError for fewer than two features in either.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        raise InputError(f"KID needs at least 2 images of each kind for a subset, got {len(a)} and {len(b)}")
    if size == len(a) == len(b):
        return float(squared_mmd(a, b)), None
    random = np.random.default_rng(derive_seed("kid", seed))
    values = []
    for _ in range(num_subsets):
        rows = [torch.from_numpy(np.sort(random.permutation(len(x))[:size])) for x in (a, b)]
        values.append(squared_mmd(a[rows[0].to(a.device)], b[rows[1].to(b.device)]))
    all_values = torch.stack(values)
    return float(all_values.mean()), float(all_values.std(correction=0))


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate from [n,D] and [n,D]; float64, may be negative."""
    n = len(x)
    x, y = x.double(), y.double()

    def kernel(p: Tensor, q: Tensor) -> Tensor:
        return (p @ q.T / p.shape[1] + 1) ** 3

    def off_diagonal_sum(k: Tensor) -> Tensor:
        return k.sum() - k.trace()

    within = (off_diagonal_sum(kernel(x, x)) + off_diagonal_sum(kernel(y, y))) / (n * (n - 1))
    return within - 2 * kernel(x, y).sum() / n**2


class KernelDistance(FeatureMetric):
    """KID, or the same in another network's features."""

    keeps_features = True

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        self.require_images(evaluation, 2, f"a subset of {self.name}")
        if distributed.is_main():
            tell_if_few(self.name, len(evaluation.generated_images), len(evaluation.real_images))

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generated, real = self.kept_features(evaluation)
        device = evaluation.moments_device
        value, spread = kernel_distance(generated.to(device), real.to(device), seed=evaluation.config.seed)
        size = min(SUBSET_SIZE, len(generated), len(real))
        subsets = "one subset of all" if spread is None else f"{NUM_SUBSETS} subsets of {size}"
        protocol = f"unbiased MMD^2, kernel (x.y/D + 1)^3, {subsets}"
        return [self.result(evaluation, "kid", value, protocol, spread, (generated, real))]


@cache  # once for all the evaluations of a training
def tell_if_few(metric: str, num_generated: int, num_real: int) -> None:
    """One line where chance decides much of the value."""
    if min(num_generated, num_real) < FEW_IMAGES:
        log.warning(
            f"{metric}: {num_generated} images against {num_real}; with fewer than {FEW_IMAGES} on a side the value"
            " depends much on which images they are"
        )
