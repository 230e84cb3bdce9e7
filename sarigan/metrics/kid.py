"""Kernel distance (Binkowski et al. 2018): unbiased squared MMD with the kernel (x.y / D + 1)^3, over random subsets."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.seeding import derive_seed

NUM_SUBSETS, SUBSET_SIZE = 100, 1000


def kernel_distance(
    a: Tensor, b: Tensor, num_subsets: int = NUM_SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation over subsets of at most `subset_size` of features a [N,D] and b [M,D].

    The subsets are functions of the seed. Raises InputError for fewer than two features in either.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        raise InputError(f"KID needs at least 2 images of each kind for a subset, got {len(a)} and {len(b)}")
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

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generated, real = self.kept_features(evaluation)
        device = evaluation.moments_device
        value, spread = kernel_distance(generated.to(device), real.to(device), seed=evaluation.config.seed)
        size = min(SUBSET_SIZE, len(generated), len(real))
        protocol = f"unbiased MMD^2, kernel (x.y/D + 1)^3, {NUM_SUBSETS} subsets of {size}"
        return [self.result(evaluation, "kid", value, protocol, spread, (generated, real))]
