"""Sets of images, one pass over them, and what metrics compare: moments and features of a network.

Image i of a set is a function of i alone, so that neither batch size nor number of processes changes a number.
Memory: moments are D^2 numbers, class sums a few numbers a class; kept features, which kernel distance and precision and
recall need, are at most MAX_KEPT rows of D float32 numbers (0.4 GB of Inception), drawn from larger sets by a fixed
permutation.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sarigan import distributed
from sarigan.data.loader import ImageDataset, load_in_order
from sarigan.distributed import sum_over_ranks
from sarigan.errors import InputError
from sarigan.models.feature_networks.feature_network import FeatureNetwork, Preprocessing
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed

MAX_KEPT = 50_000
log = logging.getLogger(__name__)


class ImageSet(Protocol):
    """What a metric needs of a set of images."""

    title: str
    resolution: int

    def __len__(self) -> int: ...

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """For each list of positions its images on the device: uint8 [N,3,R,R], or float in about -1..1."""


class DatasetImages:
    """All images of a data set, or `count` of them chosen by a fixed permutation. uint8.

    mirror: half of them, by index, are flipped, as the release does with real images.
    """

    def __init__(self, dataset: ImageDataset, count: int | None = None, mirror: bool = False, num_workers: int = 0) -> None:
        self.dataset, self.mirror, self.num_workers = dataset, mirror, num_workers
        self.title, self.resolution = dataset.describe(), dataset.resolution
        self.total = len(dataset)
        self.indices = list(range(self.total))
        if count is not None and count < self.total:
            random = np.random.default_rng(derive_seed("subset", self.total, count))
            self.indices = np.sort(random.permutation(self.total)[:count]).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        items = _Items(self, [[self.indices[p] for p in batch] for batch in positions])
        for images in load_in_order(items, self.num_workers):
            yield images.to(device, non_blocking=True)

    def image(self, index: int) -> np.ndarray:
        """uint8 [3,R,R] by index of the data set; with `mirror`, half of the indices are flipped."""
        image = self.dataset[index]
        return image[:, :, ::-1] if self.mirror and derive_seed("mirror", index) % 2 else image


@cache  # once for all the evaluations of a training
def tell_if_fewer(wanted: int | None, total: int) -> None:
    """One line where a data set has fewer real images than were asked for: all are taken, and the protocol counts them."""
    if wanted is not None and wanted > total:
        log.warning(f"num_real_images={wanted}, but the data set holds {total} images: all {total} are taken")


class _Items(Dataset):
    """Batches of images by number."""

    def __init__(self, images: DatasetImages, batches: list[list[int]]) -> None:
        self.images, self.index_batches = images, batches

    def __len__(self) -> int:
        return len(self.index_batches)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(np.stack([self.images.image(index) for index in self.index_batches[number]]))


class GeneratedImages:
    """Images of a generator from latents and noise that are functions of (seed, position). Float.

    Latents are drawn on the CPU, so that every device sees the same; noise on the device, where there is much of it.
    """

    def __init__(self, generator: Generator, count: int, seed: int = 0, truncation_psi: float = 1.0) -> None:
        self.generator, self.count, self.seed, self.truncation_psi = generator, count, seed, truncation_psi
        self.resolution = generator.config.resolution
        self.title = f"{count} generated images, {self.resolution}x{self.resolution}, seed {seed}, psi {truncation_psi:g}"

    def __len__(self) -> int:
        return self.count

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for batch in positions:
            with torch.no_grad():
                yield self.generator(self.z(batch), noise=self.noise(batch), truncation_psi=self.truncation_psi).images

    def z(self, positions: Sequence[int]) -> Tensor:
        """Latents [N,z_dim] of these positions, on the generator's device."""
        source = torch.Generator()
        size = self.generator.config.z_dim
        drawn = [torch.randn(size, generator=source.manual_seed(derive_seed("z", self.seed, p))) for p in positions]
        return torch.stack(drawn).to(self.generator.mean_latent)

    def noise(self, positions: Sequence[int]) -> list[Tensor | None]:
        """Noise [N,1,H,W] of every layer at these positions."""
        like = self.generator.mean_latent
        shapes = self.generator.synthesis.noise_shapes()
        sizes = [height * width for height, width in shapes]
        source = torch.Generator(device=like.device)
        rows = []
        for position in positions:
            source.manual_seed(derive_seed("noise", self.seed, position))
            rows.append(torch.randn(sum(sizes), generator=source, device=like.device))
        layers = torch.stack(rows).to(like.dtype).split(sizes, dim=1)
        return [x.reshape(-1, 1, *shape) for x, shape in zip(layers, shapes, strict=True)]


@dataclass(frozen=True)
class Moments:
    """Of features: count n, mean [D] and scatter [D,D] = sum of (x - mean)(x - mean)^T, float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """Unbiased, [D,D]; InputError for fewer than two samples."""
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 images, got {self.count}")
        return self.scatter / (self.count - 1)


class StreamedMoments:
    """Moments of batches that arrive one by one, merged exactly (Chan, Golub & LeVeque 1979).

    They stay on the device of the features, on the CPU where the device has no float64.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        device = torch.device("cpu") if device.type == "mps" else device
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Take in a batch [N,D]."""
        x = features.to(self.mean.device, torch.float64)
        if len(x) == 0:
            return
        mean = x.mean(dim=0)
        x = x - mean
        delta, total = mean - self.mean, self.count + len(x)
        self.scatter.addmm_(x.T, x).addr_(delta, delta, alpha=self.count * len(x) / total)
        self.mean += delta * (len(x) / total)
        self.count = total

    def merged(self) -> Moments:
        """The moments of what all processes took in, the same on every one; the order of ranks does not matter."""
        count = int(sum_over_ranks(torch.tensor(self.count, dtype=torch.float64, device=self.mean.device)))
        mean = sum_over_ranks(self.mean * (self.count / max(count, 1)))
        delta = self.mean - mean
        scatter = sum_over_ranks(self.scatter.addr(delta, delta, alpha=self.count))
        return Moments(count, mean, scatter)


class ClassSums(Protocol):
    """Sums over the logits of a classifier; built with the numbers of images and of classes."""

    def update(self, positions: Tensor, logits: Tensor) -> None:
        """Take in logits [N,K] of the images at these positions."""

    def merge(self, device: torch.device) -> None:
        """Sum over all processes, which communicate through `device`."""


@dataclass(frozen=True)
class FeatureRequest:
    """What a metric needs of both sets of images in one network, beyond their moments."""

    network: str
    keep_features: bool = False
    classes: Callable[[int, int], ClassSums] | None = None  # of the generated images
    compares: bool = True  # False: of the generated images alone

    def joined(self, other: "FeatureRequest") -> "FeatureRequest":
        """One request that serves both."""
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
    classes: ClassSums | None = None


class _Collector:
    """The statistics of one network while images pass."""

    def __init__(self, network: FeatureNetwork, request: FeatureRequest, images: ImageSet, device: torch.device) -> None:
        self.network, self.title = network, images.title
        self.moments = StreamedMoments(network.dimension, device)
        self.classes: ClassSums | None = None
        if request.classes:
            assert network.num_classes is not None  # as the metric's check has seen to
            self.classes = request.classes(len(images), network.num_classes)
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
        """The statistics over all processes, the same on every one."""
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

    `advance` is called with the size of each batch of this process. Raises InputError for features that are not finite.
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
    """The positions whose features are kept, ascending: all, or MAX_KEPT chosen by a fixed permutation."""
    if count <= MAX_KEPT:
        return torch.arange(count)
    random = np.random.default_rng(derive_seed("kept", count))
    return torch.from_numpy(np.sort(random.permutation(count)[:MAX_KEPT]))
