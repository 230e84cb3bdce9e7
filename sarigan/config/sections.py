"""The sections of a run's configuration that belong to no single component, and the whole of it."""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from sarigan.data.loader import DataConfig
from sarigan.errors import InputError
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.generator import GeneratorConfig


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights and intervals of the losses (SariGAN Eq. 7, StyleGAN2). Defaults are the paper's preset."""

    r1_gamma: float = 10.0
    r1_interval: int = 16  # steps; the penalty is multiplied by it
    path_length_weight: float = 2.0  # 0: off
    path_length_interval: int = 4
    path_length_decay: float = 0.01
    path_length_batch_shrink: int = 2
    grouping_weight: float = 2.0  # lambda_1 of Eq. 7
    threshold_weight: float = 5.0  # of a learned threshold's loss
    block_diagonal_weight: float = 1.0  # of the DBT constraint, kind `block_diagonal`
    information_weight: float = 10.0  # lambda_2 of Eq. 7, on the mean squared error; 0: off, and no Q head
    information_target: str = "w"  # w = [w_h, w_z] | codes: h and z of every grouped layer
    information_in_nats: bool = False  # sum over dimensions / 2 instead of their mean
    information_under_mixing: str = "skip"  # when layers mix two latents: skip | regress (their mean over the layers)
    mixing_probability: float = 0.9  # of style mixing, decided once a phase and step
    mixing_kind: str = "layers"  # layers | halves (w_h of one latent, w_z of another; always regressable)

    def __post_init__(self) -> None:
        choices = {
            "information_target": ("w", "codes"),
            "information_under_mixing": ("skip", "regress"),
            "mixing_kind": ("layers", "halves"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"objective.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("r1_interval", "path_length_interval", "path_length_batch_shrink"):
            if getattr(self, name) < 1:
                raise InputError(f"objective.{name} must be at least 1, got {getattr(self, name)}")
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and value < 0:
                raise InputError(f"objective.{f.name} must not be negative, got {value}")
        for name in ("mixing_probability", "path_length_decay"):
            if getattr(self, name) > 1:
                raise InputError(f"objective.{name} must be at most 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for the generator, the discriminator and the grouping parameters."""

    generator_learning_rate: float = 0.002
    discriminator_learning_rate: float = 0.002
    grouping_learning_rate: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8
    grouping_epsilon: float = 1e-15  # gradients of the mean Eq. 2 are near 1e-8

    def __post_init__(self) -> None:
        for name in ("generator_learning_rate", "discriminator_learning_rate", "grouping_learning_rate"):
            if getattr(self, name) <= 0:
                raise InputError(f"optimizer.{name} must be positive, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optimizer.{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("epsilon", "grouping_epsilon"):
            if getattr(self, name) < 0:
                raise InputError(f"optimizer.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batch, precision and bookkeeping of a run."""

    seed: int = 0
    batch_size: int = 32  # images a step over all processes and rounds
    accumulation_rounds: int = 1  # passes a process makes for them, at least
    max_images_per_pass: int | None = None  # memory limit of a process: more rounds where a pass would hold more
    images_per_rank: int | None = None  # null: batch_size / processes; a number: the run insists on it
    total_kimg: float = 25_000.0
    max_minutes: float | None = None  # of training, over all starts of the run
    device: str = "auto"  # auto: CUDA where there is a GPU | cpu | cuda | cuda:N
    # auto: bfloat16 on a CPU that is fast at it, else float32 | float32 | bfloat16 | float16 (V100) | float64
    precision: str = "auto"
    tf32: bool = False  # TensorFloat-32 for float32 matrix products on CUDA
    # Layout of images, features and kernels. auto: channels_last, but on CUDA contiguous for float32 without TF32, and float64
    memory_format: str = "auto"  # auto | channels_last | contiguous
    ema_half_life_kimg: float = 10.0
    ema_ramp_up: float | None = None  # half-life at most this share of the images seen so far
    tick_kimg: float = 4.0  # log line
    sample_kimg: float = 40.0  # sample grid
    checkpoint_kimg: float = 200.0
    num_checkpoints: int = 2  # newest ones to keep
    num_samples: int = 64  # images of the sample grid
    rank_timeout_seconds: float = 300.0  # a process that does not answer for so long ends the job
    max_nonfinite_steps: int = 10  # skipped in a row for a loss or gradient that is not finite, then:
    on_nonfinite: str = "stop"  # stop | roll_back: go on from the last checkpoint with other latents, three times at most

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation_rounds", "num_checkpoints", "num_samples", "max_nonfinite_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("total_kimg", "tick_kimg", "sample_kimg", "checkpoint_kimg", "ema_half_life_kimg", "rank_timeout_seconds"):
            if getattr(self, name) <= 0:
                raise InputError(f"training.{name} must be positive, got {getattr(self, name)}")
        for name in ("max_minutes", "ema_ramp_up", "max_images_per_pass", "images_per_rank"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise InputError(f"training.{name} must be positive or null, got {getattr(self, name)}")
        if self.batch_size % self.accumulation_rounds:
            raise InputError(
                f"training.batch_size must be a multiple of training.accumulation_rounds={self.accumulation_rounds},"
                f" got {self.batch_size}"
            )
        precisions = ("auto", "float32", "bfloat16", "float16", "float64")
        if self.precision not in precisions:
            raise InputError(f"training.precision must be one of {', '.join(precisions)}, got {self.precision!r}")
        if self.memory_format not in ("auto", "channels_last", "contiguous"):
            raise InputError(
                f"training.memory_format must be one of auto, channels_last, contiguous, got {self.memory_format!r}"
            )
        if self.on_nonfinite not in ("stop", "roll_back"):
            raise InputError(f"training.on_nonfinite must be stop or roll_back, got {self.on_nonfinite!r}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise InputError(f"training.device must be auto, cpu, cuda or cuda:N, got {self.device!r}")


@dataclass(frozen=True)
class MetricsConfig:
    """Metrics of the averaged generator while it trains (docs/evaluation.md). They change nothing in the training."""

    names: list[str] = field(default_factory=list)  # as in scripts/evaluate.py --metrics; empty: none
    interval_kimg: float = 200.0  # also before the first step and after the last
    num_images: int = 5000  # to generate each time
    num_real_images: int | None = None  # at most; null: all
    preprocessing: str = "tf"  # tf | clean | release
    batch_size: int = 32
    best: str | None = None  # result whose best checkpoint is kept, e.g. fd_efficientnet; null: the first

    def __post_init__(self) -> None:
        for name in ("num_images", "num_real_images", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"metrics.{name} must be at least 1, got {value}")
        if self.interval_kimg <= 0:
            raise InputError(f"metrics.interval_kimg must be positive, got {self.interval_kimg}")
        if self.preprocessing not in ("tf", "clean", "release"):
            raise InputError(f"metrics.preprocessing must be one of tf, clean, release, got {self.preprocessing!r}")
        if self.names:
            from sarigan.metrics.catalogue import metrics_named  # seconds of imports that most runs do without

            metrics_named(self.names)


@dataclass(frozen=True)
class Config:
    """Everything that defines a run."""

    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def __post_init__(self) -> None:
        _check_finite(self.to_dict())
        if self.objective.mixing_kind == "halves" and self.generator.grouping.kind == "none":
            raise InputError("objective.mixing_kind=halves needs w = [w_h, w_z], got generator.grouping.kind='none'")
        if self.objective.information_target == "codes" and self.generator.grouping.kind == "none":
            raise InputError("objective.information_target=codes needs groups, got generator.grouping.kind='none'")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries of numbers, strings and None."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The resolved configuration as a YAML file that `load_config` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def _check_finite(values: dict[str, Any], prefix: str = "") -> None:
    """InputError naming a field that is NaN or infinite: comparisons let both pass."""
    for key, value in values.items():
        if isinstance(value, dict):
            _check_finite(value, f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{prefix}{key} must be a finite number, got {value}")
