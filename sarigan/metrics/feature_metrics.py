"""The metrics that compare features of two sets of images, each in any network; the network gives the number its name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.feature_statistics import FeatureRequest
from sarigan.metrics.frechet import frechet_distance
from sarigan.metrics.image_sets import ImageSet
from sarigan.metrics.kid import NUM_SUBSETS, SUBSET_SIZE, kernel_distance
from sarigan.metrics.metric import Metric, Result
from sarigan.metrics.precision_recall import NUM_NEIGHBORS, precision_recall
from sarigan.models.feature_networks import vgg16
from sarigan.models.feature_networks.feature_network import metric_name

if TYPE_CHECKING:
    from sarigan.metrics.evaluation import Evaluation


class _FeatureMetric(Metric):
    def __init__(self, name: str, network: str, summary: str) -> None:
        self.name, self.network_name, self.summary = name, network, summary

    def network_of(self, evaluation: "Evaluation") -> str:
        """Name of the network it runs in."""
        return self.network_name

    def check(self, evaluation: "Evaluation") -> None:
        """Weights are looked for before any work."""
        evaluation.network(self.network_of(evaluation))

    def result(
        self, evaluation: "Evaluation", metric: str, value: float, protocol: str, spread: float | None = None,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Result:  # fmt: skip
        """A number under the name that its network gives it. kept: features of generated and real images that it is made of,
        where they may be of fewer images than there are."""
        network = evaluation.network(self.network_of(evaluation))
        generated, real = kept or (None, None)
        counts = f"{_used(evaluation.generated_images, generated)} images"
        if self.needs_data:
            counts += f" against {_used(evaluation.real_images, real)}"
        mode = f"preprocessing {evaluation.preprocessing.name}"
        return Result(
            metric_name(metric, network), value, f"{protocol}, {counts}, {mode}", spread, network.name, network.sha256,
            higher_is_better=metric in ("precision", "recall", "inception_score"),
        )  # fmt: skip


class FrechetDistance(_FeatureMetric):
    """FID, or the same in another network's features."""

    def check(self, evaluation: "Evaluation") -> None:
        super().check(evaluation)
        require_images(evaluation, 2, self.name)

    def requests(self, evaluation: "Evaluation") -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation))]

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        name = self.network_of(evaluation)
        value = frechet_distance(evaluation.generated(name).moments, evaluation.real(name).moments)
        return [self.result(evaluation, "fid", value, "Frechet distance of Gaussians")]


class KernelDistance(_FeatureMetric):
    """KID, or the same in another network's features."""

    def check(self, evaluation: "Evaluation") -> None:
        super().check(evaluation)
        require_images(evaluation, 2, f"a subset of {self.name}")

    def requests(self, evaluation: "Evaluation") -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation), keep_features=True)]

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        name = self.network_of(evaluation)
        generated, real = evaluation.generated(name).features, evaluation.real(name).features
        assert generated is not None and real is not None
        device = evaluation.moments_device
        value, spread = kernel_distance(generated.to(device), real.to(device), seed=evaluation.config.seed)
        size = min(SUBSET_SIZE, len(generated), len(real))
        protocol = f"unbiased MMD^2, kernel (x.y/D + 1)^3, {NUM_SUBSETS} subsets of {size}"
        return [self.result(evaluation, "kid", value, protocol, spread, (generated, real))]


class PrecisionRecall(_FeatureMetric):
    """Improved precision and recall; without a network of its own in VGG16 where its weights are, else EfficientNet."""

    def network_of(self, evaluation: "Evaluation") -> str:
        """Its own network, else VGG16 where the weights are, else EfficientNet."""
        if self.network_name:
            return self.network_name
        present = "vgg16" in evaluation.networks or vgg16.WEIGHTS.find() is not None
        return "vgg16" if present else "efficientnet"

    def check(self, evaluation: "Evaluation") -> None:
        super().check(evaluation)
        require_images(evaluation, NUM_NEIGHBORS + 1, f"{self.name} with k={NUM_NEIGHBORS}")

    def requests(self, evaluation: "Evaluation") -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation), keep_features=True)]

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        name = self.network_of(evaluation)
        generated, real = evaluation.generated(name).features, evaluation.real(name).features
        assert generated is not None and real is not None
        precision, recall = precision_recall(generated.to(evaluation.device), real.to(evaluation.device))
        protocol = f"k={NUM_NEIGHBORS} nearest neighbours"
        return [
            self.result(evaluation, "precision", precision, protocol, kept=(generated, real)),
            self.result(evaluation, "recall", recall, protocol, kept=(generated, real)),
        ]


class InceptionScore(_FeatureMetric):
    """Inception score, or the same of another network's classifier."""

    needs_data = False

    def check(self, evaluation: "Evaluation") -> None:
        super().check(evaluation)
        network = evaluation.network(self.network_of(evaluation))
        if network.num_classes is None:
            raise InputError(f"{self.name}: feature network {network.name} has no classifier")

    def requests(self, evaluation: "Evaluation") -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation), classes=True, compares=False)]

    def compute(self, evaluation: "Evaluation") -> Sequence[Result]:
        classes = evaluation.generated(self.network_of(evaluation)).classes
        assert classes is not None
        value, spread = classes.score()
        return [self.result(evaluation, "inception_score", value, f"{classes.num_splits} splits", spread)]


def _used(images: ImageSet, kept: Tensor | None) -> str:
    """How many of the images made a number: `40`, or `30 of 40` where features of fewer were kept."""
    return str(len(images)) if kept is None or len(kept) == len(images) else f"{len(kept)} of {len(images)}"


def require_images(evaluation: "Evaluation", count: int, what: str) -> None:
    """InputError unless there are `count` images of each kind."""
    for images in (evaluation.generated_images, evaluation.real_images):
        if len(images) < count:
            raise InputError(f"{images.title}: {what} needs at least {count} images, got {len(images)}")
