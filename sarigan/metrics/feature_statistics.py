"""What metrics keep of a set of images under a feature network, gathered in one pass over the images.

Memory: moments are streamed (D^2 numbers); class sums are (a few numbers a class); kept features, which kernel distance
and precision and recall need, are at most MAX_KEPT rows of D float32 numbers (0.4 GB of Inception), drawn from larger sets
by a fixed permutation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.metrics.image_sets import ImageSet
from sarigan.metrics.inception_score import ClassStatistics
from sarigan.metrics.moments import Moments, StreamedMoments
from sarigan.models.feature_networks.feature_network import FeatureNetwork
from sarigan.models.feature_networks.preprocessing import Preprocessing
from sarigan.seeding import derive_seed

MAX_KEPT = 50_000


@dataclass(frozen=True)
class FeatureRequest:
    """What a metric needs of both sets of images in one network, beyond their moments."""

    network: str
    keep_features: bool = False
    classes: bool = False  # of the generated images
    compares: bool = True  # False: of the generated images alone

    def joined(self, other: "FeatureRequest") -> "FeatureRequest":
        """What serves both."""
        return FeatureRequest(
            self.network,
            self.keep_features or other.keep_features,
            self.classes or other.classes,
            self.compares or other.compares,
        )


@dataclass
class FeatureStatistics:
    """Of one set of images in one network."""

    moments: Moments
    features: Tensor | None = None  # float32 [n,D] on the CPU, n at most MAX_KEPT
    classes: ClassStatistics | None = None


class _Collector:
    """The statistics of one network while images pass."""

    def __init__(self, network: FeatureNetwork, request: FeatureRequest, images: ImageSet, device: torch.device) -> None:
        self.network, self.title = network, images.title
        self.moments = StreamedMoments(network.dimension, device)
        self.classes = None
        if request.classes:
            assert network.num_classes is not None  # as the metric's check has seen to
            self.classes = ClassStatistics(len(images), network.num_classes)
        self.kept = None
        if request.keep_features:
            positions = kept_positions(len(images))
            self.row_of = torch.full((len(images),), -1)
            self.row_of[positions] = torch.arange(len(positions))
            self.kept = torch.zeros(len(positions), network.dimension)

    def add(self, positions: list[int], images: Tensor, preprocessing: Preprocessing) -> None:
        """Take in a batch."""
        features, logits = self.network(images, preprocessing)
        finite = features.isfinite().all(dim=1)
        if not finite.all():
            first = positions[int((~finite).nonzero()[0])]
            raise InputError(f"{self.title}: image {first} has features that are not finite in network {self.network.name}")
        self.moments.update(features)
        places = torch.tensor(positions)
        if self.classes is not None:
            assert logits is not None
            self.classes.update(places, logits)
        if self.kept is not None:
            rows = self.row_of[places]
            self.kept[rows[rows >= 0]] = features.cpu()[rows >= 0]

    def merged(self, device: torch.device) -> FeatureStatistics:
        """Of all processes, the same on every one."""
        if self.classes is not None:
            self.classes.merge(device)
        if self.kept is not None and distributed.world_size() > 1:
            for rows in self.kept.split(4096):  # every row is zero but in one process
                rows.copy_(distributed.sum_over_ranks(rows.to(device)))
        return FeatureStatistics(self.moments.merged(), self.kept, self.classes)


def collect(
    images: ImageSet,
    networks: Mapping[FeatureNetwork, FeatureRequest],
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[FeatureNetwork, FeatureStatistics]:
    """One pass over the images through every network; processes share it, and all receive the result.

    `advance` hears of each batch of this process. Raises InputError for features that are not finite.
    """
    starts = range(0, len(images), batch_size)[distributed.rank() :: distributed.world_size()]
    batches = [list(range(start, min(start + batch_size, len(images)))) for start in starts]
    collectors = [_Collector(network, request, images, device) for network, request in networks.items()]
    for positions, batch in zip(batches, images.batches(batches, device), strict=True):
        for collector in collectors:
            collector.add(positions, batch, preprocessing)
        advance(len(positions))
    return {collector.network: collector.merged(device) for collector in collectors}


def kept_positions(count: int) -> Tensor:
    """The places whose features are kept: all, or MAX_KEPT by a fixed permutation, in order."""
    if count <= MAX_KEPT:
        return torch.arange(count)
    random = np.random.default_rng(derive_seed("kept", count))
    return torch.from_numpy(np.sort(random.permutation(count)[:MAX_KEPT]))
