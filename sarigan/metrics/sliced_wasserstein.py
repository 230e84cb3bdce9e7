"""Sliced Wasserstein distance of features: the root mean square, over directions, of the distance of the features' projections.

In one dimension the optimal transport of two samples is known: it pairs their quantiles. Nothing is assumed about the shape of
the distributions, unlike in a Frechet distance, and no covariance of D^2 entries is estimated, so fewer images do.
(Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".)
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.seeding import derive_seed

NUM_PROJECTIONS = 1000
CHUNK = 50  # directions at a time


def wasserstein_1d(a: Tensor, b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances [P] of the columns of a [N,P] and b [M,P]: int (F_a^-1(u) - F_b^-1(u))^2 du.

    Exact for N != M, too: both quantile functions are constant between the steps i/N and j/M.
    """
    n, m = len(a), len(b)
    # In units of 1/(N M), where all steps are whole numbers.
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    starts = torch.cat([torch.zeros(1, dtype=ends.dtype), ends[:-1]])
    rows, columns = (starts // m).to(a.device), (starts // n).to(b.device)
    share = ((ends - starts).double() / (n * m)).to(a)
    difference = a.sort(dim=0).values[rows] - b.sort(dim=0).values[columns]
    return (share[:, None] * difference.square()).sum(dim=0)


def sliced_wasserstein(a: Tensor, b: Tensor, num_projections: int = NUM_PROJECTIONS, seed: int = 0) -> tuple[float, float]:
    """sqrt(mean_p W_2^2(a . p, b . p)) of features a [N,D] and b [M,D] over random unit vectors p, and its standard error.

    The standard error is that of the directions, not of the images. The directions are functions of the seed. InputError for
    no feature in either.
    """
    if not len(a) or not len(b):
        raise InputError(f"the sliced Wasserstein distance needs an image of each kind, got {len(a)} and {len(b)}")
    random = torch.Generator().manual_seed(derive_seed("sliced wasserstein", seed))
    directions = torch.randn(num_projections, a.shape[1], generator=random, dtype=torch.float64)
    directions = (directions / directions.norm(dim=1, keepdim=True)).to(a.device)
    center = b.double().mean(dim=0)  # a common shift cancels, and would cost digits
    a, b = a.double() - center, b.double() - center
    squared = torch.cat([wasserstein_1d(a @ p.T, b @ p.T) for p in directions.split(CHUNK)])
    value = float(squared.mean().sqrt())
    error = float(squared.std() / num_projections**0.5) if num_projections > 1 else 0.0
    return value, error / (2 * value) if value else 0.0


class SlicedWasserstein(FeatureMetric):
    """In the features of a network, which is part of the name."""

    keeps_features = True

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        kept = generated, real = self.kept_features(evaluation)
        device = evaluation.moments_device
        value, spread = sliced_wasserstein(generated.to(device), real.to(device), seed=evaluation.config.seed)
        protocol = f"root mean squared W_2 over {NUM_PROJECTIONS} directions"
        return [self.result(evaluation, "sliced_wasserstein", value, protocol, spread, kept)]
