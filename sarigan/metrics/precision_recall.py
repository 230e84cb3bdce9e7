"""Improved precision and recall (Kynkaanniemi et al. 2019): shares that lie within the other set's k-nearest-neighbour balls.

Distances are made a block at a time: memory is N + M radii and one block, however many features there are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.models.feature_networks import vgg16

NUM_NEIGHBORS = 3
BLOCK = 2048


def precision_recall(fake: Tensor, real: Tensor, num_neighbors: int = NUM_NEIGHBORS) -> tuple[float, float]:
    """Share of fake [N,D] within the balls of real [M,D], and the reverse. InputError for too few of either."""
    for name, features in (("generated", fake), ("real", real)):
        if len(features) <= num_neighbors:
            raise InputError(f"precision and recall need more than k={num_neighbors} {name} images, got {len(features)}")
    # Products of large features would cost digits of their distances; a shift costs none.
    center = real.mean(dim=0)
    fake, real = fake - center, real - center
    precision = _share_covered(fake, real, neighbor_radii(real, num_neighbors))
    recall = _share_covered(real, fake, neighbor_radii(fake, num_neighbors))
    return precision, recall


def neighbor_radii(features: Tensor, num_neighbors: int) -> Tensor:
    """Distance [N] of each feature [N,D] to its k-th neighbour, itself not counted."""
    radii = []
    for rows in features.split(BLOCK):
        nearest = None
        for columns in features.split(BLOCK):
            found = _distances(rows, columns)
            found = found if nearest is None else torch.cat([nearest, found], dim=1)
            nearest = found.topk(min(num_neighbors + 1, found.shape[1]), dim=1, largest=False).values
        assert nearest is not None
        radii.append(nearest[:, -1])
    return torch.cat(radii)


def _share_covered(points: Tensor, centers: Tensor, radii: Tensor) -> float:
    """The share of points [N,D] within the radius of at least one center [M,D]."""
    covered = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows, inside in zip(points.split(BLOCK), covered.split(BLOCK), strict=True):
        for columns, limits in zip(centers.split(BLOCK), radii.split(BLOCK), strict=True):
            inside |= (_distances(rows, columns) <= limits).any(dim=1)
    return float(covered.double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean [n,m]."""
    return torch.cdist(a, b)


def neighbor_network(name: str, evaluation: Evaluation) -> str:
    """A network by its name, else VGG16 where the weights are, else EfficientNet."""
    present = "vgg16" in evaluation.networks or vgg16.WEIGHTS.find() is not None
    return name or ("vgg16" if present else "efficientnet")


class PrecisionRecall(FeatureMetric):
    """Improved precision and recall; without a network of its own in VGG16 where its weights are, else EfficientNet."""

    keeps_features = True

    def network_of(self, evaluation: Evaluation) -> str:
        """As `neighbor_network`."""
        return neighbor_network(self.network_name, evaluation)

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        self.require_images(evaluation, NUM_NEIGHBORS + 1, f"{self.name} with k={NUM_NEIGHBORS}")

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generated, real = self.kept_features(evaluation)
        precision, recall = precision_recall(generated.to(evaluation.device), real.to(evaluation.device))
        protocol = f"k={NUM_NEIGHBORS} nearest neighbours"
        return [
            self.result(evaluation, "precision", precision, protocol, kept=(generated, real)),
            self.result(evaluation, "recall", recall, protocol, kept=(generated, real)),
        ]
