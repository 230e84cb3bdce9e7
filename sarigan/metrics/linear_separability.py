"""Linear separability of a latent space (Karras et al. 2019, StyleGAN, sec. 4.2), with controls for overfitting.

For each binary attribute: classify images, keep the most confident half, fit a linear SVM from latent to label.
H(Y|X) is what is still unknown of the label Y when the SVM's side X is known; the score is exp(sum H(Y|X)) in nats.
Beside it: the same SVM's H(Y|X) on latents held out, and H(Y|X) when labels are shuffled, which is what fitting alone
"explains". Legend: N samples, D latent dimensions, A attributes.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan import distributed
from sarigan.data.avatars.dataset import are_avatars
from sarigan.errors import InputError, require_at_least_1
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.latent_sampling import all_latents, broadcast_latent, gather_rows, latent_batches
from sarigan.models.feature_networks.attribute_classifiers import AttributeClassifier, classifier_hashes
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed


@dataclass(frozen=True)
class AttributeSeparability:
    """Entropies of one attribute in one space, in nats."""

    name: str
    entropy: float  # H(Y) of the kept labels: what a constant X leaves
    conditional: float  # H(Y|X), fitted and counted on the same samples (the published protocol)
    held_out: float  # H(Y|X) on samples that the fit has not seen
    shuffled: float  # as `conditional`, with shuffled labels
    positive_share: float  # among the kept
    num_kept: int


def conditional_entropy(x: np.ndarray, y: np.ndarray) -> float:
    """H(Y|X) in nats by the 2x2 table of two boolean arrays."""
    total = 0.0
    for side in (False, True):
        chosen = y[x == side]
        for count in (int(chosen.sum()), len(chosen) - int(chosen.sum())):
            if count:
                total -= count / len(y) * math.log(count / len(chosen))
    return total


def measure_attribute(
    name: str,
    latents: np.ndarray,
    logits: np.ndarray,
    kept_share: float = 0.5,
    held_out_share: float = 0.2,
    smallest_class: int = 10,
    seed: int = 0,
) -> AttributeSeparability | str:
    """The entropies for latents [N,D] and one attribute's logits [N], or the reason why there are none."""
    # softmax([l,-l]) is monotone in |l|, and saturates where |l| does not.
    kept = np.argsort(-np.abs(logits), kind="stable")[: int(kept_share * len(logits))]
    x, y = latents[kept], logits[kept] > 0
    rarer = min(int(y.sum()), int((~y).sum()))
    if rarer < smallest_class:
        return f"{rarer} of {len(y)} kept samples are of the rarer class, {smallest_class} are needed"
    random = np.random.default_rng(derive_seed("separability", seed, name))
    test = _stratified(y, held_out_share, random)
    return AttributeSeparability(
        name=name,
        entropy=conditional_entropy(np.zeros_like(y), y),
        conditional=conditional_entropy(_sides(x, y, x), y),
        held_out=conditional_entropy(_sides(x[~test], y[~test], x[test]), y[test]),
        shuffled=conditional_entropy(_sides(x, shuffled := random.permutation(y), x), shuffled),
        positive_share=float(y.mean()),
        num_kept=len(y),
    )


def _stratified(y: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A mask of samples to hold out: this share of each class, at least one and never all."""
    test = np.zeros(len(y), dtype=bool)
    for side in (False, True):
        members = random.permutation(np.flatnonzero(y == side))
        test[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return test


def _sides(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The side of the plane of an SVM, fitted to x and y, on which the asked samples lie."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    # The primal problem has the same solution as the dual, is solved without random numbers, and is fast for N > D.
    machine = LinearSVC(dual=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return machine.fit(x, y).predict(asked)


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
        require_at_least_1(self, "num_images", "samples_per_dimension", "batch_size", prefix="linear separability: ")
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

    `advance` is called with numbers of images, `advance_fits` with numbers of fitted attributes. Raises InputError for too few
    images, names that occur twice, logits that are not finite, or when no attribute has two classes.
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
    """Logits [N,A] of the generator's untruncated images, on every process."""
    positions: list[int] = []
    rows = []
    for batch in latent_batches(generator, config.num_images, config.batch_size, config.seed):
        latents = broadcast_latent(generator, generator.mapping(batch.z, batch.labels))
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


class LinearSeparability(Metric):
    """exp sum H(Y|X) in z and in w, beside a held-out and a shuffled score."""

    needs_data = False
    needs_generator = True
    name = "linear_separability"
    summary = "linear separability of z and w by attribute classifiers"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add(
            "--attribute-classifiers", default="auto", metavar="FILES",
            help="auto: that of avatars, for models of avatars alone; avatars: for any model; .npz and .onnx files",
        )  # fmt: skip
        add("--separability-images", type=int, help="images to classify; default as many as the protocol asks for")

    def check(self, evaluation: Evaluation) -> None:
        generator = evaluation.require_generator()
        self._config(evaluation).check(max(generator.config.z_dim, generator.config.w_dim))
        sources = self._sources(evaluation)
        attribute_names([evaluation.classifier(source) for source in sources])
        classifier_hashes(sources)

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        config, sources = self._config(evaluation), self._sources(evaluation)
        classifiers = [evaluation.classifier(source) for source in sources]
        advance = evaluation.progress(config.num_images, "images to classify")
        spaces = linear_separability(evaluation.require_generator(), classifiers, config, advance)
        hashes = "+".join(classifier_hashes(sources).values())
        results = []
        for space, found in spaces.items():
            counts = f"{len(found.attributes)} attributes, {config.num_images} images, the most confident half kept"
            for kind, name in (("conditional", ""), ("held_out", "_held_out"), ("shuffled", "_shuffled")):
                results.append(
                    Result(
                        f"linear_separability_{space}{name}", found.score(kind), f"exp sum H(Y|X), {counts}",
                        network="+".join(map(str, sources)), network_sha256=hashes,
                        details=found.as_dict() if kind == "conditional" else {"per_attribute": found.per_attribute(kind)},
                    )
                )  # fmt: skip
        return results

    def _sources(self, evaluation: Evaluation) -> list[str]:
        asked = evaluation.arguments.get("attribute_classifiers") or "auto"
        if asked == "auto" and not are_avatars(evaluation.data):
            data = "unknown data" if evaluation.data is None else evaluation.data.describe()
            raise InputError(
                f"linear_separability: no classifier is known for {data}; name files with --attribute-classifiers, or avatars"
                " to have the classifier of avatars read the images all the same"
            )
        return ["avatars"] if asked == "auto" else asked.split(",")

    def _config(self, evaluation: Evaluation) -> SeparabilityConfig:
        generator, config = evaluation.require_generator(), evaluation.config
        asked = evaluation.arguments.get("separability_images")
        needed = SeparabilityConfig().required_images(max(generator.config.z_dim, generator.config.w_dim))
        return SeparabilityConfig(asked or max(config.num_images, needed), batch_size=config.batch_size, seed=config.seed)
