"""The classes of a data set: read and checked once, then given with every image."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sarigan.errors import InputError

MIN_IMAGES = 2  # of a class


@dataclass(frozen=True)
class ClassLabels:
    """What a data set tells of its classes."""

    class_names: list[str]
    numbers: Sequence[int | None]  # of every image, an index into `class_names`; None: unknown
    image_name: Callable[[int], str]  # of an image by index, for a person

    @classmethod
    def of_names(cls, names: Sequence[str | None], image_name: Callable[[int], str]) -> "ClassLabels":
        """Classes in the order of their names."""
        class_names = sorted({name for name in names if name is not None})
        number = {name: index for index, name in enumerate(class_names)}
        return cls(class_names, [None if name is None else number[name] for name in names], image_name)


class ClassifiedDataset(Protocol):
    """A data set that can tell classes of its images."""

    resolution: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def describe(self) -> str:
        """One line for a person."""

    @property
    def content_key(self) -> str:
        """Differs between sets of different images."""

    def class_labels(self, source: str) -> ClassLabels:
        """Labels by the name that `data.labels` gives them; InputError for a name that means nothing here."""


class LabelledDataset:
    """A data set whose samples carry the class of the image, `labels`: an int64 in 0..K-1.

    InputError when an image has no label, when there are fewer than two classes, or when a class has fewer than two images.
    """

    def __init__(self, images: ClassifiedDataset, source: str) -> None:
        self.images, self.resolution, self.source = images, images.resolution, source
        found = images.class_labels(source)
        missing = [index for index, number in enumerate(found.numbers) if number is None]
        if missing:
            raise InputError(
                f"{images.describe()}: {len(missing)} of {len(images)} images have no label in data.labels={source} (the first"
                f" is {found.image_name(missing[0])}); every image needs one"
            )
        self.class_names = found.class_names
        self.labels = np.array(found.numbers, dtype=np.int64)
        if len(self.class_names) < 2:
            found_one = f"has the class {self.class_names[0]!r} alone"
            raise InputError(f"{images.describe()}: data.labels={source} {found_one}; two are needed")
        self.class_counts: list[int] = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        for name, count in zip(self.class_names, self.class_counts, strict=True):
            if count < MIN_IMAGES:
                found_few = f"class {name!r} of data.labels={source} has {count} image{'s' * (count != 1)}"
                raise InputError(f"{images.describe()}: {found_few}; a class needs at least {MIN_IMAGES}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: uint8 [3,R,R], RGB."""
        return self.images[index]

    def extras(self, index: int) -> dict[str, Any]:
        """The label, and what the images have beside them."""
        others = self.images.extras(index) if hasattr(self.images, "extras") else {}
        return {**others, "labels": self.labels[index]}

    def describe(self) -> str:
        return f"{self.images.describe()}, {len(self.class_names)} classes by {self.source}"

    @property
    def content_key(self) -> str:
        """Changes whenever the pixels or a label would."""
        digest = hashlib.sha256(repr(self.class_names).encode() + self.labels.astype("<i8").tobytes()).hexdigest()
        return f"{self.images.content_key}-labels-{digest[:16]}"


def labels_of(dataset: Any) -> np.ndarray:
    """int64 [n] of a set with labels."""
    assert isinstance(dataset, LabelledDataset)
    return dataset.labels


def labelled_as(dataset: Any, names: Sequence[str]) -> bool:
    """Whether the set has labels of these classes, in this order."""
    return isinstance(dataset, LabelledDataset) and [*dataset.class_names] == [*names]


def label_source(dataset: Any) -> str:
    """What `data.labels` said for a set with labels."""
    assert isinstance(dataset, LabelledDataset)
    return dataset.source


def without_labels(dataset: Any) -> Any:
    """The set of images alone."""
    return dataset.images if isinstance(dataset, LabelledDataset) else dataset


def class_shares(dataset: Any, balanced: bool = False) -> dict[str, float]:
    """Class name -> its share of the training images, in the order of the labels; empty for a set without labels."""
    if not isinstance(dataset, LabelledDataset):
        return {}
    shares = np.array([1] * len(dataset.class_names) if balanced else dataset.class_counts, dtype=np.float64)
    return dict(zip(dataset.class_names, (shares / shares.sum()).tolist(), strict=True))
