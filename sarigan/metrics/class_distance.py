"""Metrics of features within each class, and their mean over the classes: Frechet distance, kernel distance, precision, recall.

A class is compared with as many generated images of it as there are real ones among those of the evaluation. The numbers of
images differ from class to class and are small. That biases a Frechet distance upwards (of Inception's features it is the
intra-class FID, iFID), and precision and recall depend on it, too: compare at equal numbers only.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sarigan.data.labels import labelled_as, labels_of
from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.metrics.feature_statistics import (
    MAX_KEPT,
    DatasetImages,
    FeatureRequest,
    FeatureStatistics,
    GeneratedImages,
    ImageSet,
    collect,
)
from sarigan.metrics.frechet import frechet_distance
from sarigan.metrics.kid import NUM_SUBSETS, SUBSET_SIZE, kernel_distance
from sarigan.metrics.precision_recall import NUM_NEIGHBORS, neighbor_network, precision_recall
from sarigan.models.feature_networks.feature_network import FeatureNetwork, metric_name
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed


class ClassImages(GeneratedImages):
    """Generated images of one class; latents and noise of image i are functions of (seed, class, i)."""

    def __init__(self, generator: Generator, label: int, count: int, seed: int = 0, truncation_psi: float = 1.0) -> None:
        super().__init__(generator, count, derive_seed("class", seed, label), truncation_psi)
        self.label = label
        self.title = f"{count} generated images of class {generator.config.class_names[label]}"

    def labels(self, positions: Sequence[int]) -> Tensor:
        """The class, [N] times."""
        return torch.full((len(positions),), self.label, device=self.generator.mean_latent.device)


def real_images_of_class(evaluation: Evaluation, label: int) -> DatasetImages:
    """Those of the evaluation's real images that are of the class."""
    chosen, labels = evaluation.real_images, labels_of(evaluation.data)
    images = DatasetImages(chosen.dataset, None, chosen.mirror, chosen.num_workers)
    indices = np.asarray(chosen.indices)
    images.indices = indices[labels[indices] == label].tolist()
    images.title = f"real images of class {evaluation.require_generator().config.class_names[label]}"
    return images


def require_classes(evaluation: Evaluation, metric: str) -> list[str]:
    """The names of the generator's classes; InputError when it has none, or when the data set has others or none."""
    names = evaluation.require_generator().config.class_names
    if not names:
        raise InputError(f"{metric} needs a generator with classes; this one was trained without (data.labels)")
    if not labelled_as(evaluation.data, names):
        raise InputError(f"{metric} needs real images with the labels of training: leave --data out, or name the run's set")
    return names


@dataclass(frozen=True)
class ClassStatistics:
    """Features of the images of one class."""

    generated: FeatureStatistics
    real: FeatureStatistics

    def kept(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features [n,D] of generated and real images."""
        assert self.generated.features is not None and self.real.features is not None
        return self.generated.features.to(device), self.real.features.to(device)


class ClassMetric(FeatureMetric):
    """A comparison of features within each class. A result is the mean over classes; `details` has every class."""

    needs_generator = True
    min_images = 2  # of a class

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        for label, name in enumerate(require_classes(evaluation, self.name)):
            if (count := len(real_images_of_class(evaluation, label))) < self.min_images:
                raise InputError(f"{self.name} needs at least {self.min_images} real images a class, got {count} of {name!r}")

    def requests(self, evaluation: Evaluation) -> Sequence[FeatureRequest]:
        return ()  # of its own passes, a class at a time

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        network = evaluation.network(self.network_of(evaluation))
        names = evaluation.require_generator().config.class_names
        found = statistics_of_classes(evaluation, network, self.keeps_features)
        counts = {name: statistics.real.moments.count for name, statistics in zip(names, found, strict=True)}
        values = [self.measure(statistics, evaluation) for statistics in found]
        protocol = (
            f"mean over {len(names)} classes of the {self.formula}, {min(counts.values())} to {max(counts.values())} images a"
            f" class on each side, preprocessing {evaluation.preprocessing.name}"
        )
        results = []
        for measure in values[0]:
            of_classes = {name: value[measure] for name, value in zip(names, values, strict=True)}
            results.append(
                Result(
                    metric_name(f"class_{measure}", network), sum(of_classes.values()) / len(names), protocol, None,
                    network.name, network.sha256, {"classes": of_classes, "num_images": counts},
                    higher_is_better=measure in ("precision", "recall"),
                )
            )  # fmt: skip
        return results

    formula: str  # for the protocol

    @abstractmethod
    def measure(self, statistics: ClassStatistics, evaluation: Evaluation) -> Mapping[str, float]:
        """The numbers of one class, by name."""


def statistics_of_classes(evaluation: Evaluation, network: FeatureNetwork, keep_features: bool) -> list[ClassStatistics]:
    """Of every class, computed once an evaluation; features are kept where wanted, and where they are few."""
    keep = keep_features or 2 * len(evaluation.real_images) <= MAX_KEPT
    memory: dict[tuple[str, bool], list[ClassStatistics]] = evaluation.class_statistics
    if (network.name, keep) not in memory:
        generator, config = evaluation.require_generator(), evaluation.config
        request = {network: FeatureRequest(network.name, keep)}
        advance = evaluation.progress(2 * len(evaluation.real_images), f"classes, {network.name}")

        def statistics(images: ImageSet) -> FeatureStatistics:
            found = collect(images, request, evaluation.preprocessing, config.batch_size, evaluation.device, advance)
            return found[network]

        memory[network.name, keep] = []
        for label in range(len(generator.config.class_names)):
            real = real_images_of_class(evaluation, label)
            fake = ClassImages(generator, label, len(real), config.seed, config.truncation_psi)
            memory[network.name, keep].append(ClassStatistics(statistics(fake), statistics(real)))
    return memory[network.name, keep]


class ClassFrechetDistance(ClassMetric):
    """The Frechet distance of each class."""

    formula = "Frechet distance"

    def measure(self, statistics: ClassStatistics, evaluation: Evaluation) -> Mapping[str, float]:
        """`fid`, which its network names."""
        return {"fid": frechet_distance(statistics.generated.moments, statistics.real.moments)}


class ClassKernelDistance(ClassMetric):
    """The kernel distance of each class."""

    keeps_features = True
    formula = f"kernel distance (at most {NUM_SUBSETS} subsets of at most {SUBSET_SIZE})"

    def measure(self, statistics: ClassStatistics, evaluation: Evaluation) -> Mapping[str, float]:
        """`kid`, which its network names."""
        generated, real = statistics.kept(evaluation.moments_device)
        subsets = NUM_SUBSETS if len(real) > SUBSET_SIZE else 1  # one holds all images
        return {"kid": kernel_distance(generated, real, subsets, seed=evaluation.config.seed)[0]}


class ClassPrecisionRecall(ClassMetric):
    """Improved precision and recall of each class, in the network of `PrecisionRecall`."""

    keeps_features, min_images = True, NUM_NEIGHBORS + 1
    formula = f"precision and recall (k={NUM_NEIGHBORS} nearest neighbours)"

    def network_of(self, evaluation: Evaluation) -> str:
        """Its own network, else that of `PrecisionRecall`."""
        return neighbor_network(self.network_name, evaluation)

    def measure(self, statistics: ClassStatistics, evaluation: Evaluation) -> Mapping[str, float]:
        """`precision` and `recall`, which their network names."""
        precision, recall = precision_recall(*statistics.kept(evaluation.device))
        return {"precision": precision, "recall": recall}
