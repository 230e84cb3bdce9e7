"""Do generated images teach a classifier the classes of real ones, and the reverse?

Classification accuracy score (Ravuri & Vinyals 2019): the accuracy, on real images, of a classifier trained on generated ones.
GAN-test (Shmelkov et al. 2018): the accuracy, on generated images, of a classifier trained on real ones. The real images of
every class are halved: one half trains, the other tests. There are as many generated images of every class, halved in the
same way. Trained and tested on real images the same classifier shows what can be had.

The classifier is the small network that also reads avatars, with weights of its own that start from the seed; it takes no
part in any training of a generator. The number of its steps is fixed, so the time does not grow with the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.metrics.class_distance import ClassImages, real_images_of_class, require_classes
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.feature_statistics import ImageSet
from sarigan.models.feature_networks.avatar_networks import AvatarClassifier
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.seeding import derive_seed

MIN_IMAGES = 2  # of a class: one to train on, one to test with
MAX_IMAGES = 20_000  # real ones in all; larger sets are taken in equal parts a class


@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained: SGD with momentum, the learning rate falling along a cosine."""

    num_steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N,3,R,R] and their classes int64 [N]."""

    images: Tensor
    labels: Tensor

    def select(self, rows: Tensor) -> "LabelledImages":
        """Those of these rows."""
        return LabelledImages(self.images[rows], self.labels[rows])


def train_classifier(
    data: LabelledImages, num_classes: int, training: ClassifierTraining, seed: int, evaluation: Evaluation, title: str
) -> AvatarClassifier:
    """A classifier of images [N,3,R,R] in -1..1 as a function of data and seed; half of the images are mirrored."""
    device = evaluation.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("classifier", seed))
        classifier = AvatarClassifier([str(number) for number in range(num_classes)]).to(device)
    optimizer = torch.optim.SGD(
        classifier.parameters(), training.learning_rate, training.momentum, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.num_steps)
    advance = evaluation.progress(training.num_steps * training.batch_size, title)
    source = torch.Generator().manual_seed(derive_seed("classifier batches", seed))
    rows = _epochs(len(data.labels), source)
    with torch.enable_grad():
        for _ in range(training.num_steps):
            batch = data.select(torch.tensor([next(rows) for _ in range(training.batch_size)]))
            flipped = torch.rand(training.batch_size, generator=source) < 0.5
            images = torch.where(flipped[:, None, None, None], batch.images.flip(3), batch.images)
            loss = F.cross_entropy(classifier(_signed(images, device)), batch.labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(training.batch_size)
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def predicted_classes(classifier: AvatarClassifier, images: Tensor, device: torch.device) -> Tensor:
    """The most likely class of each image uint8 [N,3,R,R]: int64 [N] on the CPU."""
    return torch.cat([classifier(_signed(part, device)).argmax(dim=1).cpu() for part in images.split(256)])


class ClassificationAccuracy(Metric):
    """Classification accuracy score and GAN-test, each with the accuracy of every class."""

    name = "class_accuracy"
    summary = "a classifier trained on generated images and tested on real ones, and the reverse"
    needs_generator = True

    def __init__(self, training: ClassifierTraining | None = None) -> None:
        self.training = training or ClassifierTraining()

    def check(self, evaluation: Evaluation) -> None:
        for label, name in enumerate(require_classes(evaluation, self.name)):
            if (count := len(real_images_of_class(evaluation, label))) < MIN_IMAGES:
                raise InputError(f"{self.name} needs at least {MIN_IMAGES} real images a class, got {count} of {name!r}")

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generator, config = evaluation.require_generator(), evaluation.config
        names = generator.config.class_names
        real_train, real_test = _halves(self._real_images(evaluation), config.seed)
        fakes = self._generated_images(evaluation, torch.bincount(torch.cat([real_train.labels, real_test.labels])).tolist())
        fake_train, fake_test = _halves(fakes, config.seed)

        def score(title: str, train: LabelledImages, *tests: LabelledImages) -> list[list[float]]:
            classifier = train_classifier(train, len(names), self.training, config.seed, evaluation, title)
            return [accuracies(predicted_classes(classifier, test.images, evaluation.device), test.labels) for test in tests]

        (of_fake,) = score("classifier of generated images", fake_train, real_test)
        of_real, gan_test = score("classifier of real images", real_train, real_test, fake_test)
        counts = torch.bincount(real_test.labels).double()
        weights = counts / counts.sum()
        bounds = {"real": float(weights @ torch.tensor(of_real).double()), "chance": float(weights.max())}
        protocol = f"{len(real_train.labels)} images train, {len(real_test.labels)} test, {self.training.num_steps} steps of"
        protocol += f" {self.training.batch_size}; real on real {bounds['real']:.3f}, always the commonest class"
        protocol += f" {bounds['chance']:.3f}"
        results = []
        for kind, found in (("score", of_fake), ("gan_test", gan_test)):
            value = float(weights @ torch.tensor(found).double())
            details = {"classes": dict(zip(names, found, strict=True)), **bounds}
            results.append(Result(f"{self.name}_{kind}", value, protocol, None, details=details, higher_is_better=True))
        found_by_main: list[Result] = distributed.from_main(results)  # other machines round a training differently
        return found_by_main

    def _real_images(self, evaluation: Evaluation) -> LabelledImages:
        sets = [real_images_of_class(evaluation, label) for label in range(len(require_classes(evaluation, self.name)))]
        limit = max(MIN_IMAGES, MAX_IMAGES // len(sets))
        for images in sets:
            images.indices = images.indices[:limit]
        return _collected(sets, evaluation, "real images")

    def _generated_images(self, evaluation: Evaluation, counts: Sequence[int]) -> LabelledImages:
        generator, config = evaluation.require_generator(), evaluation.config
        sets = [ClassImages(generator, k, n, config.seed, config.truncation_psi) for k, n in enumerate(counts)]
        return _collected(sets, evaluation, "generated images")


def accuracies(predicted: Tensor, labels: Tensor) -> list[float]:
    """The share of right predictions [N] of every class; each class needs an image."""
    right = torch.bincount(labels, (predicted == labels).double())
    return [float(value) for value in right / torch.bincount(labels)]


def _collected(sets: Sequence[ImageSet], evaluation: Evaluation, title: str) -> LabelledImages:
    """The images of all classes, class after class."""
    advance, size = evaluation.progress(sum(len(images) for images in sets), title), evaluation.config.batch_size
    pictures = []
    for images in sets:
        positions = [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]
        for batch in images.batches(positions, evaluation.device):
            pictures.append(to_uint8(batch).cpu())
            advance(len(batch))
    labels = torch.cat([torch.full((len(images),), label) for label, images in enumerate(sets)])
    return LabelledImages(torch.cat(pictures), labels)


def _halves(data: LabelledImages, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Two random halves of every class; of an odd number the second is larger."""
    source = torch.Generator().manual_seed(derive_seed("classifier halves", seed))
    train, test = [], []
    for label in range(int(data.labels.max()) + 1):
        rows = (data.labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=source)]
        train.append(rows[: len(rows) // 2])
        test.append(rows[len(rows) // 2 :])
    return data.select(torch.cat(train)), data.select(torch.cat(test))


def _epochs(count: int, source: torch.Generator) -> Iterator[int]:
    while True:
        yield from torch.randperm(count, generator=source).tolist()


def _signed(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 127.5 - 1
