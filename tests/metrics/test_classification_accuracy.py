"""Classification accuracy score and GAN-test of painters that obey their class, that ignore it, and that confuse two."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.data.labels import ClassLabels, LabelledDataset
from sarigan.metrics.catalogue import METRICS, evaluate
from sarigan.metrics.classification_accuracy import (
    ClassificationAccuracy,
    ClassifierTraining,
    LabelledImages,
    accuracies,
    predicted_classes,
    train_classifier,
)
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation, Result

NAMES = ["left", "middle", "right"]


def picture(label: int, seed: int) -> np.ndarray:
    """A bar of one of three colours in noise, uint8 [3,16,16]; mirroring does not change its class."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 120, (3, 16, 16)).astype(np.uint8)
    image[label, :, 4:12] += 90
    return image


class Bars:
    """Ten pictures of each class; a `ClassifiedDataset`."""

    resolution, content_key = 16, "bars"

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> np.ndarray:
        return picture(index % 3, index)

    def describe(self) -> str:
        return "bars"

    def class_labels(self, source: str) -> ClassLabels:
        return ClassLabels(NAMES, [index % 3 for index in range(30)], str)


class Painter:
    """Stands for a generator: paints the class that `shown(label, z)` names."""

    def __init__(self, shown: Callable[[int, int], int]) -> None:
        self.shown = shown
        self.config = SimpleNamespace(resolution=16, z_dim=1, class_names=NAMES)
        self.mean_latent = torch.zeros(1)
        self.synthesis = SimpleNamespace(noise_shapes=lambda: [(1, 1)])

    def __call__(self, z: Tensor, noise: Any, truncation_psi: float, labels: Tensor) -> SimpleNamespace:
        numbers = [int(row.abs() * 1e5) for row in z]
        found = [picture(self.shown(int(k), n), 1000 + n) for k, n in zip(labels, numbers, strict=True)]
        return SimpleNamespace(images=torch.from_numpy(np.stack(found)) / 127.5 - 1)


def judged(shown: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    monkeypatch.setitem(METRICS, "class_accuracy", ClassificationAccuracy(ClassifierTraining(30, 12, 0.05)))
    data = LabelledDataset(Bars(), "label")
    config = EvaluationConfig(num_images=30, batch_size=7, seed=2)
    evaluation = Evaluation(config, torch.device("cpu"), Painter(shown), data=data)  # type: ignore[arg-type]
    return {result.name: result for result in evaluate(evaluation, ["class_accuracy"]).results}


def test_an_obedient_painter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(lambda label, number: label, monkeypatch)
    for result in found.values():
        assert result.value > 0.9 and result.details["real"] > 0.9
        assert result.details["chance"] == pytest.approx(1 / 3) and result.higher_is_better
    assert [*found] == ["class_accuracy_score", "class_accuracy_gan_test"]
    assert judged(lambda label, number: label, monkeypatch) == found  # a function of the seed


def test_a_painter_that_ignores_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(lambda label, number: number % 3, monkeypatch)
    assert found["class_accuracy_gan_test"].value < 0.7 and found["class_accuracy_gan_test"].details["real"] > 0.9


def test_a_painter_that_swaps_two_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier of its images calls the first class the second; it is right about the third."""
    found = judged(lambda label, number: (1, 0, 2)[label], monkeypatch)
    for result in found.values():
        assert result.details["classes"]["left"] < 0.3 and result.details["classes"]["right"] > 0.7
        assert result.value == pytest.approx(np.mean([*result.details["classes"].values()]))


def test_a_classifier_leaves_the_global_random_state_alone() -> None:
    evaluation = Evaluation(EvaluationConfig(), torch.device("cpu"), images=Bars())
    data = LabelledImages(torch.from_numpy(np.stack([picture(i % 3, i) for i in range(6)])), torch.arange(6) % 3)
    trained = []
    for seed in (0, 0, 1):
        before = torch.get_rng_state()
        trained.append(train_classifier(data, 3, ClassifierTraining(2, 4), seed, evaluation, "test"))
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)  # another state, of which nothing may depend
    weights = [classifier.head.weight for classifier in trained]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert predicted_classes(trained[0], data.images, torch.device("cpu")).shape == (6,)


def test_accuracies_by_hand() -> None:
    assert accuracies(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1])) == [0.5, 0.5]
