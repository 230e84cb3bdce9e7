"""The interface of a metric and of its results. A new metric is a subclass of `Metric` and a line in catalogue.py."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sarigan.metrics.feature_statistics import FeatureRequest

if TYPE_CHECKING:
    from sarigan.metrics.evaluation import Evaluation


@dataclass(frozen=True)
class Result:
    """One number, and all that a reader needs to believe it. details: whatever else the metric found, JSON values."""

    name: str
    value: float
    protocol: str
    spread: float | None = None
    network: str | None = None
    network_sha256: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    higher_is_better: bool = False


class Metric(ABC):
    """A name a person can ask for, and how its numbers come about."""

    name: str
    summary: str  # one line for the list of metrics
    needs_data: bool = True
    needs_generator: bool = False  # a set of images will not do

    def check(self, evaluation: "Evaluation") -> None:
        """InputError for what would fail later; called for all metrics before any work."""
        return

    def requests(self, evaluation: "Evaluation") -> Sequence[FeatureRequest]:
        """Features that `compute` will ask `evaluation.real` and `.generated` for, gathered in one pass for all metrics."""
        return ()

    @abstractmethod
    def compute(self, evaluation: "Evaluation") -> Iterable[Result]:
        """The numbers, one by one where each is much work; called on every process, which must all give the same."""

    def add_arguments(self, add: Callable[..., Any]) -> None:
        """Options of its own for scripts/evaluate.py, by calls like argparse's add_argument(...).

        They arrive in `evaluation.arguments`.
        """
        return
