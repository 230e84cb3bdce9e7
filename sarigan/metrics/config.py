"""The protocol of an evaluation, and which metrics a run computes while it trains."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from sarigan.errors import InputError, require_at_least_1
from sarigan.models.feature_networks.feature_network import PREPROCESSINGS, preprocessing_named
from sarigan.seeding import check_seed


@dataclass(frozen=True)
class EvaluationConfig:
    """The protocol of one evaluation. num_real_images: at most; None: all."""

    num_images: int = 50_000
    num_real_images: int | None = None
    preprocessing: str = "tf"
    truncation_psi: float = 1.0
    seed: int = 0
    batch_size: int = 32
    num_workers: int = 0
    inception_weights: Path | None = None

    def __post_init__(self) -> None:
        preprocessing_named(self.preprocessing)
        require_at_least_1(self, "num_images", "num_real_images", "batch_size")
        check_seed("seed", self.seed)
        if not math.isfinite(self.truncation_psi):
            raise InputError(f"truncation_psi must be a finite number, got {self.truncation_psi}")
        if self.num_workers < 0:
            raise InputError(f"num_workers must not be negative, got {self.num_workers}")


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
        require_at_least_1(self, "num_images", "num_real_images", "batch_size", prefix="metrics.")
        if self.interval_kimg <= 0:
            raise InputError(f"metrics.interval_kimg must be positive, got {self.interval_kimg}")
        if self.preprocessing not in PREPROCESSINGS:
            raise InputError(f"metrics.preprocessing must be one of {', '.join(PREPROCESSINGS)}, got {self.preprocessing!r}")
        if self.names:
            from sarigan.metrics.catalogue import metrics_named  # seconds of imports that most runs do without

            metrics_named(self.names)
