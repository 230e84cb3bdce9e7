"""Linear separability of a latent space (Karras et al. 2019, StyleGAN, sec. 4.2), with what tells a number from overfitting.

For each binary attribute: classify images, keep the most confident half, fit a linear SVM from latent to label.
H(Y|X) is what is still unknown of the label Y when the SVM's side X is known; the score is exp(sum H(Y|X)) in nats.
Beside it: the same SVM's H(Y|X) on latents held out, and H(Y|X) when labels are shuffled, which is what fitting alone
"explains". Legend: N samples, D latent dimensions, A attributes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.metrics.attribute_entropy import AttributeSeparability, measure_attribute
from sarigan.metrics.latent_sampling import all_latents, broadcast_latent, gather_rows, latent_batches
from sarigan.models.generator import Generator


class AttributeClassifier(Protocol):
    """Images [N,3,R,R] in about -1..1 -> logits [N,A], positive where the named attribute is there."""

    names: list[str]

    def __call__(self, images: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class SeparabilityConfig:
    """The protocol; NVIDIA's where it has a value."""

    num_images: int = 200_000
    kept_share: float = 0.5
    samples_per_dimension: int = 20  # kept ones, at least
    held_out_share: float = 0.2
    smallest_class: int = 10  # kept samples; an attribute with fewer of a class counts as having one class
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("kept_share", "held_out_share"):
            if not 0 < getattr(self, name) < (1 if name == "held_out_share" else 1.0000001):
                raise InputError(f"linear separability: {name} must be between 0 and 1, got {getattr(self, name)}")
        for name in ("num_images", "samples_per_dimension", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"linear separability: {name} must be at least 1, got {getattr(self, name)}")
        if self.smallest_class < 2:
            raise InputError(f"linear separability: smallest_class must be at least 2, got {self.smallest_class}")

    def required_images(self, num_dimensions: int) -> int:
        """How many images give enough kept samples for a space of so many dimensions."""
        return math.ceil(self.samples_per_dimension * num_dimensions / self.kept_share)

    def check(self, num_dimensions: int) -> None:
        """InputError when there are too few images for a space of so many dimensions."""
        needed = self.required_images(num_dimensions)
        if self.num_images < needed:
            raise InputError(
                f"linear separability: {self.num_images} images are too few for {num_dimensions} latent dimensions;"
                f" at least {needed} give {self.samples_per_dimension} kept samples a dimension"
            )


@dataclass(frozen=True)
class SpaceSeparability:
    """One latent space. Scores are exp of a sum over attributes; 1 is perfect."""

    space: str
    attributes: list[AttributeSeparability]
    excluded: dict[str, str] = field(default_factory=dict)  # attribute -> why

    def score(self, kind: str = "conditional") -> float:
        """exp(sum) of `conditional`, `held_out`, `shuffled` or `entropy`."""
        return math.exp(sum(getattr(attribute, kind) for attribute in self.attributes))

    def per_attribute(self, kind: str = "conditional") -> float:
        """exp(mean): the score's share of one attribute, comparable between sets of attributes of different size."""
        return math.exp(sum(getattr(attribute, kind) for attribute in self.attributes) / len(self.attributes))

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        kinds = ("conditional", "held_out", "shuffled", "entropy")
        return {
            "space": self.space,
            "scores": {kind: self.score(kind) for kind in kinds},
            "per_attribute": {kind: self.per_attribute(kind) for kind in kinds},
            "attributes": [asdict(attribute) for attribute in self.attributes],
            "excluded": self.excluded,
        }


def linear_separability(
    generator: Generator,
    classifiers: Sequence[AttributeClassifier],
    config: SeparabilityConfig,
    advance: Callable[[int], None] = lambda count: None,
    advance_fits: Callable[[int], None] = lambda count: None,
) -> dict[str, SpaceSeparability]:
    """Separability in `z` and in `w` (that of the last layer; all share one). Processes share images and fits.

    `advance` hears of images, `advance_fits` of fitted attributes. Raises InputError for too few images, names that occur
    twice, logits that are not finite, or when no attribute has two classes.
    """
    config.check(max(generator.config.z_dim, generator.config.w_dim))
    names = attribute_names(classifiers)
    logits = attribute_logits(generator, classifiers, config, advance).numpy()
    if logits.shape[1] != len(names):
        raise InputError(f"linear separability: {len(names)} attributes are named, classifiers give {logits.shape[1]} logits")
    latents = all_latents(generator, config.num_images, config.batch_size, config.seed)
    return {
        space: separability(space, x.numpy(), logits, names, config, advance_fits)
        for space, x in zip(("z", "w"), latents, strict=True)
    }


def attribute_names(classifiers: Sequence[AttributeClassifier]) -> list[str]:
    """The names of all attributes in the order of their logits; InputError for none, or one that occurs twice."""
    names = [name for classifier in classifiers for name in classifier.names]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"linear separability: attributes need names of their own, got {', '.join(names) or 'none'}")
    return names


@torch.no_grad()
def attribute_logits(
    generator: Generator,
    classifiers: Sequence[AttributeClassifier],
    config: SeparabilityConfig,
    advance: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """What the classifiers say of the generator's images, without truncation: [N,A], on every process."""
    positions: list[int] = []
    rows = []
    for batch in latent_batches(generator, config.num_images, config.batch_size, config.seed):
        latents = broadcast_latent(generator, generator.mapping(batch.z))
        images = generator.synthesize(latents, batch.noise).images
        rows.append(torch.cat([classifier(images) for classifier in classifiers], dim=1))
        positions += batch.positions
        advance(len(batch.positions))
    return gather_rows(config.num_images, positions, rows)


def separability(
    space: str,
    latents: np.ndarray,
    logits: np.ndarray,
    names: Sequence[str],
    config: SeparabilityConfig,
    advance: Callable[[int], None] = lambda count: None,
) -> SpaceSeparability:
    """The metric for latents [N,D] and logits [N,A]; `linear_separability` without a generator."""
    if not np.isfinite(logits).all():
        first = int(np.argmin(np.isfinite(logits).all(axis=1)))
        raise InputError(f"linear separability: sample {first} has logits that are not finite")
    rule = (config.kept_share, config.held_out_share, config.smallest_class, config.seed)
    mine: dict[str, AttributeSeparability | str] = {}
    for index in range(len(names))[distributed.rank() :: distributed.world_size()]:
        mine[names[index]] = measure_attribute(names[index], latents, logits[:, index], *rule)
        advance(1)
    found = {name: item for share in distributed.gather_objects(mine) for name, item in share.items()}
    kept = [item for name in names if isinstance(item := found[name], AttributeSeparability)]
    if not kept:
        raise InputError("linear separability: no attribute has two classes among the kept samples; nothing can be separated")
    return SpaceSeparability(space, kept, {name: item for name in names if isinstance(item := found[name], str)})
