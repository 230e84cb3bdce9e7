"""What every run's configuration says of its training: length, batch, precision, bookkeeping."""

import re
from dataclasses import dataclass, field

from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.models.feature_networks.feature_network import PREPROCESSINGS
from sarigan.training.augmentation.config import AugmentationConfig


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batch, precision and bookkeeping of a run."""

    seed: int = 0  # of the weights, the order of the images and every draw
    batch_size: int = 32  # images a step over all processes and rounds
    accumulation_rounds: int = 1  # passes a process makes for them, at least
    max_images_per_pass: int | None = None  # memory limit of a process: more rounds where a pass would hold more
    cpu_processes: int = 1  # that share the batch on a CPU, where layers are too small for threads; 0: one a core
    # Weights to begin with: a run directory, a checkpoint, an export, a model of the package, or a file of other people's code.
    init_from: str | None = None
    images_per_rank: int | None = None  # null: batch_size / processes; a number: the run insists on it
    total_kimg: float = 25_000.0  # length of the run
    max_minutes: float | None = None  # of training, over all starts of the run
    device: str = "auto"  # auto: CUDA where there is a GPU | cpu | cuda | cuda:N
    # auto: bfloat16 on a CPU that is fast at it, else float32 | float32 | bfloat16 | float16 (V100) | float64
    precision: str = "auto"
    tf32: bool = False  # TensorFloat-32 for float32 matrix products on CUDA
    # Layout of images, features and kernels. auto: channels_last, but on CUDA contiguous for float32 without TF32, and float64
    memory_format: str = "auto"  # auto | channels_last | contiguous
    # A phase's kernels start with one call instead of thousands: a small network trains several times as fast. Of the style
    # system, on one GPU, without augmentation
    cuda_graphs: bool = False
    ema_half_life_kimg: float = 10.0  # of the averaged weights: an older weight counts half after so many
    ema_ramp_up: float | None = None  # half-life at most this share of the images seen so far
    tick_kimg: float = 4.0  # log line
    sample_kimg: float = 40.0  # sample grid
    checkpoint_kimg: float = 200.0  # checkpoint
    num_checkpoints: int = 2  # newest ones to keep
    num_samples: int = 64  # images of the sample grid
    rank_timeout_seconds: float = 300.0  # a process that does not answer for so long ends the job
    max_nonfinite_steps: int = 10  # skipped in a row for a loss or gradient that is not finite, then:
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    on_nonfinite: str = "stop"  # stop | roll_back: go on from the last checkpoint with other latents, three times at most

    def __post_init__(self) -> None:
        counts = ("batch_size", "accumulation_rounds", "num_checkpoints", "num_samples", "max_nonfinite_steps")
        require_at_least_1(self, *counts, prefix="training.")
        for name in ("total_kimg", "tick_kimg", "sample_kimg", "checkpoint_kimg", "ema_half_life_kimg", "rank_timeout_seconds"):
            if getattr(self, name) <= 0:
                raise InputError(f"training.{name} must be positive, got {getattr(self, name)}")
        for name in ("max_minutes", "ema_ramp_up", "max_images_per_pass", "images_per_rank"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise InputError(f"training.{name} must be positive or null, got {getattr(self, name)}")
        if self.cpu_processes < 0:
            raise InputError(f"training.cpu_processes must be at least 0 (one a core), got {self.cpu_processes}")
        require_at_most(
            "training", self, seed=2**63 - 1, batch_size=1 << 20, num_samples=1 << 20, num_checkpoints=1 << 20,
            cpu_processes=1024, max_nonfinite_steps=1 << 20, max_images_per_pass=1 << 20, total_kimg=10**9,
            max_minutes=10**9,
            rank_timeout_seconds=10**7, tick_kimg=10**9, sample_kimg=10**9, checkpoint_kimg=10**9, ema_half_life_kimg=10**9,
        )  # fmt: skip
        if self.batch_size % self.accumulation_rounds:
            raise InputError(
                f"training.batch_size must be a multiple of training.accumulation_rounds={self.accumulation_rounds},"
                f" got {self.batch_size}"
            )
        require_one_of(
            self, "training.", precision=("auto", "float32", "bfloat16", "float16", "float64"),
            memory_format=("auto", "channels_last", "contiguous"), on_nonfinite=("stop", "roll_back"),
        )  # fmt: skip
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", self.device):
            raise InputError(f"training.device must be auto, cpu, cuda or cuda:N, got {self.device!r}")


@dataclass(frozen=True)
class MetricsConfig:
    """Metrics of the averaged generator while it trains (docs/evaluation.md). They change nothing in the training."""

    names: list[str] = field(default_factory=list)  # as in scripts/evaluate.py --metrics; empty: none
    data: str | None = None  # a set of images to compare with, such as unseen ones; null: the training images
    interval_kimg: float = 200.0  # also before the first step and after the last
    num_images: int = 5000  # to generate each time
    num_real_images: int | None = None  # at most; null: all
    preprocessing: str = "tf"  # tf | clean | release
    batch_size: int = 32  # images at a time in each process
    best: str | None = None  # result whose best checkpoint is kept, e.g. fd_efficientnet; null: the first

    def __post_init__(self) -> None:
        require_at_least_1(self, "num_images", "num_real_images", "batch_size", prefix="metrics.")
        require_at_most("metrics", self, num_images=10**9, num_real_images=10**9, batch_size=1 << 20, interval_kimg=10**9)
        if self.interval_kimg <= 0:
            raise InputError(f"metrics.interval_kimg must be positive, got {self.interval_kimg}")
        require_one_of(self, "metrics.", preprocessing=PREPROCESSINGS)
        if self.names:
            from sarigan.metrics.catalogue import metrics_named  # seconds of imports that most runs do without

            metrics_named(self.names)
