"""Density and coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models").

Balls lie around the real features alone, each as wide as the distance to its k-th real neighbour. Density counts in how many
balls a generated image lies, so one real outlier with a wide ball does not make images good. Coverage is the share of balls
that hold a generated image, so many odd images do not make a set diverse.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, Result
from sarigan.metrics.precision_recall import BLOCK, PrecisionRecall, neighbor_radii

NUM_NEIGHBORS = 5


def density_coverage(fake: Tensor, real: Tensor, num_neighbors: int = NUM_NEIGHBORS) -> tuple[float, float]:
    """Density and coverage of fake [N,D] by balls around real [M,D]; InputError for too few real ones, or no fake one.

    With M real points X, radii r and N generated points Y:
    density = 1/(k N) sum_ij [|Y_j - X_i| <= r_i],  coverage = 1/M sum_i [min_j |Y_j - X_i| <= r_i].
    Of two sets of one distribution density is 1 on average, and coverage is `expected_coverage`.
    """
    if len(real) <= num_neighbors or not len(fake):
        got = f"{len(real)} and {len(fake)}"
        raise InputError(f"density and coverage need more than k={num_neighbors} real images and a generated one, got {got}")
    # Products of large features would cost digits of their distances; a shift costs none.
    center = real.mean(dim=0)
    fake, real = fake - center, real - center
    radii = neighbor_radii(real, num_neighbors)
    count = torch.zeros((), dtype=torch.int64, device=real.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for rows, limits, hit in zip(real.split(BLOCK), radii.split(BLOCK), covered.split(BLOCK), strict=True):
        for columns in fake.split(BLOCK):
            inside = torch.cdist(rows, columns) <= limits[:, None]
            count += inside.sum()
            hit |= inside.any(dim=1)
    return float(count) / (num_neighbors * len(fake)), float(covered.double().mean())


def expected_coverage(num_fake: int, num_real: int, num_neighbors: int = NUM_NEIGHBORS) -> float:
    """The mean coverage when both sets are of one continuous distribution, whichever it is (ibid., lemma 2).

    1 - prod_{i=1..k} (M - i) / (N + M - i) for N generated and M real points.
    """
    missed = 1.0
    for i in range(1, num_neighbors + 1):
        missed *= (num_real - i) / (num_fake + num_real - i)
    return 1 - missed


class DensityCoverage(PrecisionRecall):
    """In the network in which precision and recall are computed."""

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        self.require_images(evaluation, NUM_NEIGHBORS + 1, f"{self.name} with k={NUM_NEIGHBORS}")

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        kept = generated, real = self.kept_features(evaluation)
        density, coverage = density_coverage(generated.to(evaluation.device), real.to(evaluation.device))
        protocol = f"k={NUM_NEIGHBORS} nearest neighbours"
        expected = f"{protocol}; {expected_coverage(len(generated), len(real)):.4f} of equal distributions"
        return [
            self.result(evaluation, "density", density, f"{protocol}; 1 of equal distributions", kept=kept),
            self.result(evaluation, "coverage", coverage, expected, kept=kept),
        ]
