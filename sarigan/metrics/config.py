"""The protocol of an evaluation: how many images, how they are made and prepared."""

import logging
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sarigan.errors import InputError, require_at_least_1
from sarigan.models.feature_networks.feature_network import preprocessing_named
from sarigan.seeding import check_seed

log = logging.getLogger(__name__)


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
    dinov2_weights: Path | None = None

    def __post_init__(self) -> None:
        preprocessing_named(self.preprocessing)
        require_at_least_1(self, "num_images", "num_real_images", "batch_size")
        check_seed("seed", self.seed)
        if not math.isfinite(self.truncation_psi):
            raise InputError(f"truncation_psi must be a finite number, got {self.truncation_psi}")
        if self.num_workers < 0:
            raise InputError(f"num_workers must not be negative, got {self.num_workers}")

    @property
    def weights_files(self) -> dict[str, Path | None]:
        """Files of weights that were named, by feature network."""
        return {"inception": self.inception_weights, "dinov2": self.dinov2_weights}


@cache  # once for all the evaluations of a training
def tell_rounding(metric: str, asked: int, taken: int, unit: str) -> None:
    """One line where a metric cannot take the number of images that was asked for."""
    if taken != asked:
        log.warning(f"{metric}: takes {taken} images where {asked} were asked for, {unit}")
