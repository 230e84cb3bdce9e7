"""Metrics of classes: distances against scipy, and class control of painters that obey, that ignore, and that miss."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from sarigan.data.avatars.attributes import BINARY_ATTRIBUTES, CHOICES
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.labels import ClassLabels, LabelledDataset
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.class_control import decided_attributes, with_choice
from sarigan.metrics.class_distance import ClassImages
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.models.generator import Generator, GeneratorConfig

Build = Callable[..., Any]
NAMES = ["a", "b", "c"]


class Labelled:
    """Images [N,3,R,R] of an array with labels; a `ClassifiedDataset`."""

    content_key = "labelled"

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.numbers, self.resolution = images, labels, images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[index]

    def describe(self) -> str:
        return "labelled"

    def class_labels(self, source: str) -> ClassLabels:
        return ClassLabels(NAMES, self.numbers.tolist(), str)


@pytest.fixture
def generator() -> Generator:
    config = GeneratorConfig(
        resolution=8, z_dim=4, style_dim=4, mapping_layers=2, channel_base=32, channel_max=8,
        class_names=NAMES, class_shares=[0.2, 0.3, 0.5],
        grouping=GroupingConfig(kind="none"),
    )  # fmt: skip
    return Generator(config).eval().requires_grad_(False)


@pytest.fixture
def data(smooth_images: Build) -> LabelledDataset:
    return LabelledDataset(Labelled(smooth_images(30, 8), np.arange(30) % 5 % 3), "label")  # 12, 12 and 6 images


def test_distances_of_classes_are_full_precision(generator: Generator, data: LabelledDataset, small_network: Any) -> None:
    """The surroundings of an evaluation may cast automatically."""
    config = EvaluationConfig(num_images=7, batch_size=4, seed=3)
    values = []
    for cast in (False, True):
        networks = {"efficientnet": small_network}
        made = Evaluation(config, torch.device("cpu"), generator, data=data, networks=networks)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            values.append(evaluate(made, ["class_fd_efficientnet"]).values())
    assert values[0] == values[1] and len(values[0]) > 0


def test_distances_of_classes(generator: Generator, data: LabelledDataset, small_network: Any) -> None:
    networks = {"efficientnet": small_network}
    evaluation = Evaluation(
        EvaluationConfig(num_images=7, batch_size=4, seed=3), torch.device("cpu"), generator, data=data, networks=networks
    )
    (result,) = evaluate(evaluation, ["class_fd_efficientnet"]).results
    assert result.details["num_images"] == {"a": 12, "b": 12, "c": 6} and result.name == "class_fd_small"
    assert small_network.seen == 60

    def features(images: torch.Tensor) -> np.ndarray:
        return np.asarray(small_network(images, evaluation.preprocessing)[0].double().numpy())

    for label, name in enumerate(NAMES):
        real = torch.from_numpy(np.stack([data[i] for i in range(30) if data.labels[i] == label]))
        made = ClassImages(generator, label, len(real), seed=3)
        positions = range(len(real))
        with torch.no_grad():
            labels = torch.full((len(real),), label)
            fake = generator(made.z(positions), noise=made.noise(positions), labels=labels).images
        x, y = features(fake), features(real)
        root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
        expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
        assert result.details["classes"][name] == pytest.approx(expected, rel=1e-5)
    assert result.value == pytest.approx(np.mean([*result.details["classes"].values()]))


def test_kernel_distance_and_precision_of_classes(generator: Generator, data: LabelledDataset, small_network: Any) -> None:
    """Each is the formula of the whole set on the images of one class; all three metrics see every image once."""
    networks = {"efficientnet": small_network}
    config = EvaluationConfig(num_images=7, batch_size=4, seed=3)
    evaluation = Evaluation(config, torch.device("cpu"), generator, data=data, networks=networks)
    names = ["class_fd_efficientnet", "class_kid_efficientnet", "class_precision_recall_efficientnet"]
    results = {result.name: result for result in evaluate(evaluation, names).results}
    assert list(results) == ["class_fd_small", "class_kid_small", "class_precision_small", "class_recall_small"]
    assert small_network.seen == 60
    expected: dict[str, list[float]] = {name: [] for name in results if name != "class_fd_small"}
    for label in range(3):
        real = torch.from_numpy(np.stack([data[i] for i in range(30) if data.labels[i] == label]))
        made = ClassImages(generator, label, len(real), seed=3)
        (fake,) = made.batches([range(len(real))], torch.device("cpu"))
        x, y = (small_network(images, evaluation.preprocessing)[0].double() for images in (fake, real))
        n = len(x)
        k = (torch.cat([x, y]) @ torch.cat([x, y]).T / 5 + 1) ** 3
        off = k - k.diagonal().diag()
        within = (off[:n, :n].sum() + off[n:, n:].sum()) / (n * (n - 1))
        expected["class_kid_small"].append(float(within - 2 * k[:n, n:].mean()))
        for name, points, centers in (("class_precision_small", x, y), ("class_recall_small", y, x)):
            radii = [sorted(float((a - b).norm()) for b in centers)[3] for a in centers]
            inside = [any((p - c).norm() <= r for c, r in zip(centers, radii, strict=True)) for p in points]
            expected[name].append(sum(inside) / n)
    for name, values in expected.items():
        assert [*results[name].details["classes"].values()] == pytest.approx(values, rel=1e-4, abs=1e-6)
        assert results[name].value == pytest.approx(np.mean(values), rel=1e-4, abs=1e-6)
    assert results["class_recall_small"].higher_is_better and not results["class_kid_small"].higher_is_better


def test_what_is_wrong_is_one_line(generator: Generator, data: LabelledDataset, small_network: Any) -> None:
    def fails(judged: Generator, images: Any, message: str, **config: Any) -> None:
        evaluation = Evaluation(
            EvaluationConfig(**config), torch.device("cpu"), judged, data=images, networks={"efficientnet": small_network}
        )
        with pytest.raises(InputError, match=message):
            evaluate(evaluation, ["class_fd_efficientnet" if "real" in message else "class_control"])

    fails(generator, data.images, "needs real images with the labels of training")
    fails(generator, data, "class_fd_efficientnet needs at least 2 real images a class, got [01] of '.'", num_real_images=4)
    fails(generator, data, r"class_control needs the classes of an avatar attribute \(data.labels=hair_color\), got 'label'")
    with pytest.raises(InputError, match="class_precision_recall_efficientnet needs at least 4 real images a class, got 2"):
        made = EvaluationConfig(num_real_images=13)
        networks = {"efficientnet": small_network}
        of_few = Evaluation(made, torch.device("cpu"), generator, data=data, networks=networks)
        evaluate(of_few, ["class_precision_recall_efficientnet"])
    plain = Generator(dataclasses.replace(generator.config, class_names=[], class_shares=[]))
    fails(plain, data, "class_control needs a generator with classes; this one was trained without")


def test_what_a_hair_colour_decides() -> None:
    values = [*CHOICES["hair_color"]]
    decided, expected = decided_attributes("hair_color", values)
    names = [[*BINARY_ATTRIBUTES][index] for index in decided]
    assert names == ["dark_hair", "light_hair", "red_hair"]
    truth = {
        "dark_hair": {"black", "dark_brown"},
        "light_hair": {"blonde", "golden", "platinum", "silver"},
        "red_hair": {"auburn", "red"},
    }
    for column, name in enumerate(names):
        assert {value for row, value in enumerate(values) if expected[row, column]} == truth[name]
    assert with_choice(AvatarDataset(32).attributes(0), "hair", "none").has_hair is False


class Painter:
    """Stands for a generator: draws avatars whose hair has the class's colour, or that of `colour(label, z)`."""

    def __init__(self, colour: Callable[[int, int], int]) -> None:
        self.dataset, self.colour, self.names = AvatarDataset(32), colour, [*CHOICES["hair_color"]]
        self.config = SimpleNamespace(resolution=32, z_dim=1, class_names=self.names)
        self.mean_latent = torch.zeros(1)
        self.synthesis = SimpleNamespace(noise_shapes=lambda: [(1, 1)])

    def __call__(self, z: torch.Tensor, noise: Any, truncation_psi: float, labels: torch.Tensor) -> SimpleNamespace:
        images = []
        for row, label in zip(z, labels, strict=True):
            index = int(row.abs() * 1e4)
            attributes = with_choice(self.dataset.attributes(index), "hair", "pixie")
            colour = self.names[self.colour(int(label), index)]
            images.append(self.dataset.render(with_choice(attributes, "hair_color", colour))[0])
        return SimpleNamespace(images=torch.from_numpy(np.stack(images)) / 127.5 - 1)


@pytest.mark.parametrize(
    ("colour", "by_colour", "by_attributes"),
    [
        (lambda label, index: label, (0.9, 1.0), (0.85, 1.0)),
        (lambda label, index: index % 10, (0.02, 0.2), (0.15, 0.4)),  # 1/10; 28/100 for groups of 2, 4, 2 and 2 classes
        (lambda label, index: (label + 5) % 10, (0.0, 0.05), (0.0, 0.35)),
    ],
    ids=["obeys", "ignores", "another"],
)
def test_class_control(
    colour: Callable[[int, int], int], by_colour: tuple[float, float], by_attributes: tuple[float, float]
) -> None:
    data = LabelledDataset(AvatarDataset(32, 400), "hair_color")
    evaluation = Evaluation(
        EvaluationConfig(num_images=200, num_real_images=100), torch.device("cpu"), Painter(colour), data=data,  # type: ignore[arg-type]
    )  # fmt: skip
    found = {result.name: result for result in evaluate(evaluation, ["class_control"]).results}
    for kind, (low, high), chance in (("color", by_colour, 0.1), ("attributes", by_attributes, 0.28)):
        result = found[f"class_control_{kind}"]
        assert low <= result.value <= high, (kind, result)
        assert result.details["real"] > 0.8 and result.details["chance"] == pytest.approx(chance, abs=0.08)
        assert result.value == pytest.approx(np.mean([*result.details["classes"].values()]))
