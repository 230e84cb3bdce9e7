"""Everything that defines a run. Each system adds its own sections in a subclass that stands beside it."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import yaml

from sarigan.data.labels import class_shares
from sarigan.data.loader import DataConfig, KeyedDataset, open_dataset
from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.systems.system import System
from sarigan.training.augmentation.config import MOVING
from sarigan.training.batch_plan import BatchPlan
from sarigan.training.config import MetricsConfig, TrainingConfig
from sarigan.training.precision import Precision


@dataclass(frozen=True)
class RunConfig(ABC):
    """The sections that all systems share. `system` names the subclass (`sarigan.systems.registry`)."""

    # Sections or fields that fix the shapes of the weights, and exceptions from them: a run goes on with the same ones only.
    ARCHITECTURE: ClassVar[tuple[str, ...]] = ()
    NOT_ARCHITECTURE: ClassVar[tuple[str, ...]] = ()

    # What its discriminator's images may pass through: nothing | appearance (they have a layout or mask beside them that
    # would not move with them) | everything
    AUGMENTS: ClassVar[str] = "nothing"
    CUDA_GRAPHS: ClassVar[bool] = False  # whether its losses can be recorded: Python decides nothing in them but by the shard

    system: str = "style"  # which kind of model: a name of sarigan/systems/registry.py
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        _check_finite(self.to_dict())
        name, transforms = self.training.augmentation.name, self.training.augmentation.chosen()
        if transforms and self.AUGMENTS == "nothing":
            raise InputError(
                f"training.augmentation.name must be none: system {self.system!r} has no discriminator of whole images to show"
                f" augmented ones to, got {name!r}"
            )
        if self.training.cuda_graphs and not self.CUDA_GRAPHS:
            raise InputError(f"training.cuda_graphs must be false for system {self.system!r}, whose phases cannot be recorded")
        if self.training.cuda_graphs and transforms:
            raise InputError(
                f"training.cuda_graphs must be false with training.augmentation.name={name}, which draws inside the loss"
            )
        moving = [transform for transform in transforms if transform in MOVING]
        if moving and self.AUGMENTS != "everything":
            raise InputError(
                f"training.augmentation.transforms of system {self.system!r} must not move pixels away from their layout or"
                f" mask, got {', '.join(moving)}"
            )

    @property
    @abstractmethod
    def resolution(self) -> int:
        """Width of the images in pixels, and their height unless `image_size` says otherwise."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in pixels; `resolution` is the width."""
        return self.resolution, self.resolution

    @property
    def class_names(self) -> list[str]:
        """The classes of what is trained, in the order of their labels; none where it has no classes."""
        return []

    def with_classes(self, shares: Mapping[str, float]) -> "RunConfig":
        """The configuration for data of these classes, each with its share of the images; InputError when it names others."""
        return self

    def open_data(self) -> tuple["RunConfig", KeyedDataset]:
        """The data set, and the configuration with what it decides filled in."""
        dataset = open_dataset(self.data, self.resolution)
        return self.with_classes(class_shares(dataset, self.data.balanced)), dataset

    @property
    def shard_multiple(self) -> int:
        """Results do not depend on how a batch is cut into shards of a multiple of so many images."""
        return 1

    def batch_warning(self, plan: BatchPlan) -> str | None:
        """A line where results depend on how the batch is cut."""
        return plan.warning(self.shard_multiple)

    @abstractmethod
    def build(self, precision: Precision) -> System:
        """The system, its weights drawn from `training.seed`."""

    @abstractmethod
    def tiny(self) -> "RunConfig":
        """The same method at the smallest widths and 8 px, every phase due in every step, for a trial of seconds."""

    def averaged_generator(self, weights: Mapping[str, Any], device: str | torch.device) -> Generator | None:
        """The frozen averaged generator of latents, from the content of a checkpoint; None where the system has no such one."""
        return None

    def method(self) -> str:
        """The method's name, for a person."""
        return self.system

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries of numbers, strings and None."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The resolved configuration as a YAML file that `load_config` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def with_classes_of_generator(config: Any, shares: Mapping[str, float]) -> Any:
    """`with_classes` of a configuration whose generator holds `class_names` and `class_shares`."""
    if config.class_names not in ([], [*shares]):
        raise InputError(f"generator.class_names names {class_difference(config.class_names, [*shares])}")
    generator = dataclasses.replace(config.generator, class_names=[*shares], class_shares=[*shares.values()])
    return dataclasses.replace(config, generator=generator)


def class_difference(there: Sequence[str], here: Sequence[str]) -> str:
    """Two lists of classes in half a line: how many there and how many in the data, and the first that one of them lacks."""
    counts = f"{len(there)} classes, the data have {len(here)}"
    lacks = next((f"; the data lack {name!r}" for name in there if name not in here), "")
    lacks = lacks or next((f"; only the data have {name!r}" for name in here if name not in there), "; in another order")
    return counts + lacks


def _check_finite(values: dict[str, Any], prefix: str = "") -> None:
    """InputError naming a field that is NaN or infinite: comparisons let both pass."""
    for key, value in values.items():
        if isinstance(value, dict):
            _check_finite(value, f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{prefix}{key} must be a finite number, got {value}")
