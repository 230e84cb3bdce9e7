"""Which metrics a run computes while it trains."""

from dataclasses import dataclass, field

from sarigan.errors import InputError, require_at_most


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
        require_at_most("metrics", self, num_images=10**9, num_real_images=10**9, batch_size=1 << 20, interval_kimg=10**9)
        if self.interval_kimg <= 0:
            raise InputError(f"metrics.interval_kimg must be positive, got {self.interval_kimg}")
        if self.preprocessing not in ("tf", "clean", "release"):
            raise InputError(f"metrics.preprocessing must be one of tf, clean, release, got {self.preprocessing!r}")
        if self.names:
            from sarigan.metrics.catalogue import metrics_named  # seconds of imports that most runs do without

            metrics_named(self.names)
