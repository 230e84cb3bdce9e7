"""Frechet distance of two Gaussians (Dowson & Landau 1982); of Inception's features it is FID (Heusel et al. 2017).

d^2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr(S1^(1/2) S2 S1^(1/2))^(1/2)
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.metrics.feature_statistics import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """d^2 of the Gaussians with these moments; of covariances of any rank."""
    mean_term = (a.mean - b.mean).square().sum()
    trace_term = a.covariance.trace() + b.covariance.trace() - 2 * root_trace(a.covariance, b.covariance)
    return float(mean_term + trace_term)


def root_trace(a: Tensor, b: Tensor) -> Tensor:
    """tr (A^(1/2) B A^(1/2))^(1/2) of symmetric positive semidefinite A, B [D,D].

    With A = U U^T and B = V V^T these are the singular values of U^T V. Taking them directly, instead of roots of
    eigenvalues, leaves an error of 1e-16 and not of 1e-8 at each of the zeros that fewer than D samples bring.
    """
    return torch.linalg.svdvals(_factor(a).T @ _factor(b)).sum()


def _factor(matrix: Tensor) -> Tensor:
    """U [D,r] with U U^T = matrix; directions that are zero up to rounding are left out."""
    root, failed = torch.linalg.cholesky_ex(matrix)
    pivots = root.diagonal().square()
    if not failed and pivots.min() > 1e-10 * pivots.max():  # clearly of full rank: a fifth of the time
        return root
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


class FrechetDistance(FeatureMetric):
    """FID, or the same in another network's features."""

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        self.require_images(evaluation, 2, self.name)

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        name = self.network_of(evaluation)
        value = frechet_distance(evaluation.generated(name).moments, evaluation.real(name).moments)
        return [self.result(evaluation, "fid", value, "Frechet distance of Gaussians")]
