"""What a metric is, and what all metrics of one evaluation share: images, networks, statistics, cache, progress.

A new metric is a subclass of `Metric` and a line in catalogue.py."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.feature_statistics import (
    DatasetImages,
    FeatureRequest,
    FeatureStatistics,
    GeneratedImages,
    ImageSet,
    collect,
    tell_if_fewer,
)
from sarigan.metrics.statistics_cache import StatisticsCache, content_hash
from sarigan.models.discriminator import Discriminator
from sarigan.models.feature_networks.attribute_classifiers import AttributeClassifier, open_attribute_classifiers
from sarigan.models.feature_networks.feature_network import FeatureNetwork, metric_name, preprocessing_named
from sarigan.models.feature_networks.networks_by_name import open_network
from sarigan.models.feature_networks.perceptual import PerceptualDistance, open_perceptual_distance
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar

HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage", "inception_score")


@dataclass
class Evaluation:
    """What is judged (a generator, another image maker or a set of images), and the data set it is compared with.

    Frozen networks may be handed in by name. Raises InputError when sizes of images differ.
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
    class_statistics: dict[Any, Any] = field(default_factory=dict)  # of `metrics.class_distance`, shared by its metrics
    seen_kimg: float | None = None  # what training had shown the judged networks, where that is known
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
        """The hash of the data set's images; None without a data set."""
        return None if self.data is None else content_hash(self.data, self.config.num_workers, self.progress)

    def network(self, name: str) -> FeatureNetwork:
        """A feature network on the device, opened once. InputError for one whose features the images were trained to match."""
        if name == getattr(self.samples, "training_network", None):
            raise InputError(f"{name} took part in the training of this model (a perceptual loss): it is no judge of it")
        if name not in self.networks:
            self.networks[name] = open_network(name, self.device, self.config.weights_files.get(name))
        return self.networks[name]

    def classifier(self, source: str) -> AttributeClassifier:
        """A classifier of attributes on the device, opened once."""
        if source not in self.classifiers:
            (self.classifiers[source],) = open_attribute_classifiers([source], self.device)
        return self.classifiers[source]

    @cached_property
    def perceptual_distance(self) -> PerceptualDistance:
        """The one of --ppl-distance on the device; by default LPIPS where its weights are, else EfficientNet's."""
        return open_perceptual_distance(self.device, self.arguments.get("ppl_distance") or "auto")

    @property
    def moments_device(self) -> torch.device:
        """The device, or the CPU where the device (an Apple GPU) has no float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def progress(self, total: int, title: str) -> Callable[[int], None]:
        """A bar over `total` images; returns a function to call with the number of images that this process has finished."""
        shown = self.show_progress and distributed.is_main()
        bar = progress_bar(
            total=total, desc=title, unit="img", dynamic_ncols=True, mininterval=0.5, file=sys.stderr, disable=not shown,
            leave=None,  # beside the bar of a training it goes when it is full
        )  # fmt: skip

        def advance(count: int) -> None:
            self.between_batches()
            if shown:
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
        missing, caches = {}, self.cache.folder is not None and self.data is not None
        for name in [name for name, request in joined.items() if request.compares]:
            request = FeatureRequest(name, joined[name].keep_features)
            cached = self.cache.find(self._key(request), request.keep_features, self.moments_device) if caches else None
            if cached is not None:
                self._statistics["real", name] = cached
            else:
                missing[name] = request
        if missing:
            for name, statistics in self._pass(self.real_images, missing, "real images").items():
                self._statistics["real", name] = statistics
                if caches and distributed.is_main():
                    self.cache.keep(self._key(missing[name]), statistics)
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
        size, advance = self.config.batch_size, self.progress(len(images), title)
        found = collect(images, networks, self.preprocessing, size, self.device, advance)
        return {request.network: found[network] for network, request in networks.items()}

    def _key(self, request: FeatureRequest) -> dict[str, Any]:
        assert self.data_hash is not None
        return {
            "data": self.data_hash, "count": len(self.real_images), "of": self.real_images.total,
            "preprocessing": self.preprocessing.name, "weights": self.network(request.network).sha256,
        }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One number and how it was computed. details: everything else that the metric found, as JSON values."""

    name: str
    value: float
    protocol: str
    spread: float | None = None
    network: str | None = None
    network_sha256: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    higher_is_better: bool = False
    null: float | None = None  # the same score of random groups, of an R^2 that of the mean: what chance gives


class Metric(ABC):
    """A metric: the name that a person asks for, and the computation."""

    name: str
    summary: str  # one line for the list of metrics
    needs_data: bool = True
    needs_generator: bool = False  # a set of images will not do

    def check(self, evaluation: Evaluation) -> None:
        """InputError for a metric that cannot be computed; called for all metrics before any work."""
        return

    def requests(self, evaluation: Evaluation) -> Sequence[FeatureRequest]:
        """The features that `compute` reads from `evaluation`; one pass over the images gathers those of all metrics."""
        return ()

    @abstractmethod
    def compute(self, evaluation: Evaluation) -> Iterable[Result]:
        """The results, one by one where each is much work. Every process calls it and must return the same."""

    def add_arguments(self, add: Callable[..., Any]) -> None:
        """Options of its own for scripts/evaluate.py, by calls like add_argument(...); read in `evaluation.arguments`."""
        return


class FeatureMetric(Metric):
    """A metric of features; the network is part of a result's name. keeps_features: features are needed beside moments."""

    keeps_features = False

    def __init__(self, name: str, network: str, summary: str) -> None:
        self.name, self.network_name, self.summary = name, network, summary

    def network_of(self, evaluation: Evaluation) -> str:
        """Name of the network it runs in."""
        return self.network_name

    def check(self, evaluation: Evaluation) -> None:
        """Opens the network: InputError when its weights are missing."""
        evaluation.network(self.network_of(evaluation))

    def requests(self, evaluation: Evaluation) -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation), keep_features=self.keeps_features)]

    def kept_features(self, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
        """Features [N,D] of generated and [M,D] of real images."""
        name = self.network_of(evaluation)
        generated, real = evaluation.generated(name).features, evaluation.real(name).features
        assert generated is not None and real is not None
        return generated, real

    def result(
        self, evaluation: Evaluation, metric: str, value: float, protocol: str, spread: float | None = None,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Result:  # fmt: skip
        """A result named after metric and network. kept: the features that it was computed from, perhaps of fewer images."""
        network = evaluation.network(self.network_of(evaluation))
        generated, real = kept or (None, None)
        counts = f"{_used(evaluation.generated_images, generated)} images"
        if self.needs_data:
            counts += f" against {_used(evaluation.real_images, real)}"
        mode = f"preprocessing {evaluation.preprocessing.name}"
        return Result(
            metric_name(metric, network), value, f"{protocol}, {counts}, {mode}", spread, network.name, network.sha256,
            higher_is_better=metric in HIGHER_IS_BETTER,
        )  # fmt: skip

    def require_images(self, evaluation: Evaluation, count: int, what: str) -> None:
        """InputError unless there are `count` images of each kind."""
        for images in (evaluation.generated_images, evaluation.real_images):
            if len(images) < count:
                raise InputError(f"{images.title}: {what} needs at least {count} images, got {len(images)}")


def _used(images: ImageSet, kept: Tensor | None) -> str:
    """How many of the images made a number: `40`, or `30 of 40` where features of fewer were kept."""
    return str(len(images)) if kept is None or len(kept) == len(images) else f"{len(kept)} of {len(images)}"
