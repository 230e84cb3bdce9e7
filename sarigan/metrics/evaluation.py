"""What all metrics of one evaluation share: images, networks, statistics, cache, progress."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sarigan import distributed
from sarigan.data.content_hash import content_hash
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.metrics.feature_statistics import FeatureRequest, FeatureStatistics, collect
from sarigan.metrics.image_sets import DatasetImages, GeneratedImages, ImageSet, tell_if_fewer
from sarigan.metrics.linear_separability import AttributeClassifier
from sarigan.metrics.moments import Moments
from sarigan.metrics.statistics_cache import StatisticsCache
from sarigan.models.discriminator import Discriminator
from sarigan.models.feature_networks.attribute_classifiers import open_attribute_classifiers
from sarigan.models.feature_networks.feature_network import FeatureNetwork
from sarigan.models.feature_networks.opening import open_network
from sarigan.models.feature_networks.perceptual import PerceptualDistance, open_perceptual_distance
from sarigan.models.feature_networks.preprocessing import preprocessing_named
from sarigan.models.generator import Generator
from sarigan.seeding import check_seed


@dataclass(frozen=True)
class EvaluationConfig:
    """The protocol. num_real_images: at most; None: all."""

    num_images: int = 50_000
    num_real_images: int | None = None
    preprocessing: str = "tf"
    truncation_psi: float = 1.0
    seed: int = 0
    batch_size: int = 32
    num_workers: int = 0
    inception_weights: Path | None = None

    def __post_init__(self) -> None:
        preprocessing_named(self.preprocessing)
        for name in ("num_images", "num_real_images", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        check_seed("seed", self.seed)
        if not math.isfinite(self.truncation_psi):
            raise InputError(f"truncation_psi must be a finite number, got {self.truncation_psi}")
        if self.num_workers < 0:
            raise InputError(f"num_workers must not be negative, got {self.num_workers}")


@dataclass
class Evaluation:
    """A generator, whatever else makes images, or a set of images, most often against a data set.

    Frozen networks may be handed in by name.

    Raises InputError when sizes of images differ.
    """

    config: EvaluationConfig
    device: torch.device
    generator: Generator | None = None
    samples: ImageSet | None = None  # made by a system without a style-based generator
    images: ImageDataset | None = None
    data: ImageDataset | None = None
    cache: StatisticsCache = field(default_factory=lambda: StatisticsCache(None))
    show_progress: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)  # options of single metrics, from the command line
    networks: dict[str, FeatureNetwork] = field(default_factory=dict)
    classifiers: dict[str, AttributeClassifier] = field(default_factory=dict)  # of attributes, by source
    discriminator: Discriminator | None = None  # the generator's, for its Q head
    information_target: str = "w"  # what Q was trained on: w | codes
    other_generator: Generator | None = None  # of another checkpoint, for the stability of groups
    between_batches: Callable[[], None] = lambda: None  # called after every batch; what it raises breaks the evaluation off

    def __post_init__(self) -> None:
        if [self.generator, self.samples, self.images].count(None) != 2:
            raise InputError("an evaluation needs a generator or a set of images, and not both")
        self.preprocessing = preprocessing_named(self.config.preprocessing)
        self._statistics: dict[tuple[str, str], FeatureStatistics] = {}
        if self.data is not None and self.data.resolution != self.generated_images.resolution:
            size, other = self.data.resolution, self.generated_images.resolution
            kind = "the generator makes" if self.images is None else "the images to compare are"
            raise InputError(f"{self.data.describe()}: {size}x{size}, {kind} {other}x{other}; prepare a set of that size")
        if self.data is not None and distributed.is_main():
            tell_if_fewer(self.config.num_real_images, len(self.data))

    @cached_property
    def generated_images(self) -> ImageSet:
        """The images that are judged: a generator's, or those of a set."""
        config = self.config
        if self.samples is not None:
            return self.samples
        if self.generator is not None:
            return GeneratedImages(self.generator, config.num_images, config.seed, config.truncation_psi)
        assert self.images is not None
        return DatasetImages(self.images, config.num_images, num_workers=config.num_workers)

    @cached_property
    def real_images(self) -> DatasetImages:
        """The images of the data set; InputError without one."""
        if self.data is None:
            raise InputError("there is no data set to compare with; name one with --data")
        mirror = self.preprocessing.mirrors_real_images
        return DatasetImages(self.data, self.config.num_real_images, mirror, self.config.num_workers)

    def require_generator(self) -> Generator:
        """The generator; InputError when a set of images is judged."""
        if self.generator is None:
            raise InputError("this metric needs a generator (--checkpoint), got a set of images")
        return self.generator

    @cached_property
    def data_hash(self) -> str | None:
        """Of the data set's content; None without one."""
        return None if self.data is None else content_hash(self.data, self.config.num_workers, self.progress)

    def network(self, name: str) -> FeatureNetwork:
        """A feature network on the device, opened once."""
        if name not in self.networks:
            self.networks[name] = open_network(name, self.device, self.config.inception_weights)
        return self.networks[name]

    def classifier(self, source: str) -> AttributeClassifier:
        """A classifier of attributes on the device, opened once."""
        if source not in self.classifiers:
            (self.classifiers[source],) = open_attribute_classifiers([source], self.device)
        return self.classifiers[source]

    @cached_property
    def perceptual_distance(self) -> PerceptualDistance:
        """LPIPS where its weights are, else the distance with a name of its own, on the device."""
        return open_perceptual_distance(self.device)

    @property
    def moments_device(self) -> torch.device:
        """Where float64 is: the device, or the CPU beside an Apple GPU."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def progress(self, total: int, title: str) -> Callable[[int], None]:
        """A bar over `total` images of all processes; returns what to call with the number that this one has done."""
        shown = self.show_progress and distributed.is_main()
        bar = tqdm(
            total=total, desc=title, unit="img", dynamic_ncols=True, mininterval=0.5, file=sys.stderr, disable=not shown,
            leave=None,  # beside the bar of a training it goes when it is full
        )  # fmt: skip

        def advance(count: int) -> None:
            self.between_batches()
            if not shown:
                return
            bar.update(min(count * distributed.world_size(), total - bar.n))
            if bar.n >= total:
                bar.close()

        return advance

    def gather(self, requests: Iterable[FeatureRequest]) -> None:
        """Everything that the requests need, in one pass over each set of images."""
        joined: dict[str, FeatureRequest] = {}
        for request in requests:
            joined[request.network] = request.joined(joined.get(request.network, request))
        if not joined:
            return
        missing = {}
        for name in [name for name, request in joined.items() if request.compares]:
            request = FeatureRequest(name, joined[name].keep_features)
            if (cached := self._cached(request)) is not None:
                self._statistics["real", name] = cached
            else:
                missing[name] = request
        if missing:
            for name, statistics in self._pass(self.real_images, missing, "real images").items():
                self._statistics["real", name] = statistics
                self._keep(missing[name], statistics)
        title = "generated images" if self.images is None else "images"
        for name, statistics in self._pass(self.generated_images, joined, title).items():
            self._statistics["generated", name] = statistics

    def real(self, network: str) -> FeatureStatistics:
        """Statistics of the data set that `gather` made."""
        return self._statistics["real", network]

    def generated(self, network: str) -> FeatureStatistics:
        """Statistics of the judged images that `gather` made."""
        return self._statistics["generated", network]

    def _pass(self, images: ImageSet, requests: dict[str, FeatureRequest], title: str) -> dict[str, FeatureStatistics]:
        networks = {self.network(name): request for name, request in requests.items()}
        advance = self.progress(len(images), title)
        found = collect(images, networks, self.preprocessing, self.config.batch_size, self.device, advance)
        return {request.network: found[network] for network, request in networks.items()}

    def _key(self, request: FeatureRequest, kind: str) -> dict[str, Any]:
        assert self.data_hash is not None
        return {
            "kind": kind, "data": self.data_hash, "count": len(self.real_images), "of": self.real_images.total,
            "preprocessing": self.preprocessing.name, "weights": self.network(request.network).sha256,
        }  # fmt: skip

    def _cached(self, request: FeatureRequest) -> FeatureStatistics | None:
        if self.cache.folder is None or self.data is None:
            return None
        moments = self.cache.load(self._key(request, "moments"))
        kept = self.cache.load(self._key(request, "features")) if request.keep_features and moments else None
        usable = moments is not None and (kept is not None or not request.keep_features)
        # A pass over the images is the work of all processes: all of them need it or none.
        if not all(distributed.gather_objects(usable)) or moments is None:
            return None
        found = Moments(int(moments["count"]), *(moments[name].to(self.moments_device) for name in ("mean", "scatter")))
        return FeatureStatistics(found, None if kept is None else kept["features"])

    def _keep(self, request: FeatureRequest, statistics: FeatureStatistics) -> None:
        if self.cache.folder is None or not distributed.is_main():
            return
        found = statistics.moments
        moments = {"count": torch.tensor(found.count), "mean": found.mean, "scatter": found.scatter}
        self.cache.save(self._key(request, "moments"), moments)
        if statistics.features is not None:
            self.cache.save(self._key(request, "features"), {"features": statistics.features})
