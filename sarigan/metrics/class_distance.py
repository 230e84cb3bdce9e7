"""Frechet distance within each class, and its mean over the classes (of Inception's features: intra-class FID, iFID).

A class is compared with as many generated images of it as there are real ones among those of the evaluation. The numbers of
images differ from class to class and are small, which biases a distance upwards: compare at equal numbers only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.data.labels import labelled_as, labels_of
from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.metrics.feature_statistics import DatasetImages, FeatureRequest, GeneratedImages, Moments, collect
from sarigan.metrics.frechet import frechet_distance
from sarigan.models.feature_networks.feature_network import metric_name
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed

MIN_IMAGES = 2  # of a class: a covariance needs them


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
    images.indices = [index for index in chosen.indices if labels[index] == label]
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


class ClassFrechetDistance(FeatureMetric):
    """The mean over classes; `details` has the distance of every class and its number of images."""

    needs_generator = True

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        for label, name in enumerate(require_classes(evaluation, self.name)):
            if (count := len(real_images_of_class(evaluation, label))) < MIN_IMAGES:
                raise InputError(f"{self.name} needs at least {MIN_IMAGES} real images a class, got {count} of {name!r}")

    def requests(self, evaluation: Evaluation) -> Sequence[FeatureRequest]:
        return ()  # of its own passes, a class at a time

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generator, config = evaluation.require_generator(), evaluation.config
        network = evaluation.network(self.network_of(evaluation))
        names = generator.config.class_names
        advance = evaluation.progress(2 * len(evaluation.real_images), self.name)

        def moments(images: DatasetImages | GeneratedImages) -> Moments:
            wanted = {network: FeatureRequest(network.name)}
            found = collect(images, wanted, evaluation.preprocessing, config.batch_size, evaluation.device, advance)
            return found[network].moments

        distances, counts = {}, {}
        for label, name in enumerate(names):
            real = real_images_of_class(evaluation, label)
            fake = ClassImages(generator, label, len(real), config.seed, config.truncation_psi)
            distances[name], counts[name] = frechet_distance(moments(fake), moments(real)), len(real)
        value = sum(distances.values()) / len(names)
        protocol = (
            f"mean over {len(names)} classes of the Frechet distance, {min(counts.values())} to {max(counts.values())} images a"
            f" class on each side, preprocessing {evaluation.preprocessing.name}"
        )
        details = {"classes": distances, "num_images": counts}
        return [Result(metric_name("class_fid", network), value, protocol, None, network.name, network.sha256, details)]
