"""Metrics of the averaged generator during training, and the checkpoint that was best by one of them.

<run>/log.jsonl and tensorboard: metrics/<name>. <run>/evaluation/<images>.json: the whole report. The best checkpoint so
far is kept among the others, and <run>/checkpoints/pointer.json says which one it is, by what number.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarigan import distributed
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.files.checkpoint import best_entry
from sarigan.files.run_record import read_log
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation, Result
from sarigan.metrics.statistics_cache import StatisticsCache, default_folder
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.failure import is_communication_error
from sarigan.training.config import MetricsConfig
from sarigan.training.hooks import RunLogger, interval_steps
from sarigan.training.trainer import Hook, StoppedInHookError, Trainer

if TYPE_CHECKING:
    from sarigan.models.feature_networks.feature_network import FeatureNetwork

PREFIX = "metrics/"
log = logging.getLogger(__name__)


class EvaluationHook(Hook):
    """Evaluates before the first step, every N kimg and at the end, against the training images or those of `metrics.data`.

    Real images are not mirrored, and none is augmented.
    It draws from no generator that training draws from, and the time it takes is not counted as training. What was trained is
    saved first, so that a request to stop may break an evaluation off.
    """

    every_rank = True  # the ranks share the sampling
    memory_setting = "metrics.batch_size"

    def __init__(
        self, logger: RunLogger | None, run_dir: Path, config: MetricsConfig, dataset: ImageDataset,
        checkpoints: CheckpointHook, networks: Mapping[str, "FeatureNetwork"] | None = None,
    ) -> None:  # fmt: skip
        self.logger, self.run_dir, self.config, self.dataset = logger, run_dir, config, dataset
        self.checkpoints = checkpoints
        self.networks = dict(networks or {})

    def before_training(self, trainer: Trainer) -> None:
        self.interval = interval_steps(self.config.interval_kimg, trainer.batch_size)
        self.evaluation = self._evaluation(trainer)
        # At the beginning; and what a request to stop has broken off is made up for.
        done = distributed.from_main(self._report_path(trainer).exists())
        if self._is_due(trainer) and not done:
            self.evaluate(trainer)

    def after_step(self, trainer: Trainer) -> None:
        if self._is_due(trainer) and not trainer.is_interrupted():
            self.evaluate(trainer)

    def _is_due(self, trainer: Trainer) -> bool:
        return trainer.state.step % self.interval == 0 or trainer.is_finished()

    def _report_path(self, trainer: Trainer) -> Path:
        return self.run_dir / "evaluation" / f"{trainer.state.seen_images:09d}.json"

    def _evaluation(self, trainer: Trainer) -> Evaluation:
        """One for all, which opens networks and hashes the data once."""
        state, config = trainer.state, self.config

        def stop_if_asked() -> None:
            if trainer.stop_requested:
                raise StoppedInHookError

        protocol = EvaluationConfig(
            config.num_images, config.num_real_images, config.preprocessing, seed=0, batch_size=config.batch_size,
            num_workers=state.config.data.num_workers,
        )  # fmt: skip
        return Evaluation(
            protocol, trainer.device, data=self.dataset, networks=self.networks,
            cache=StatisticsCache(default_folder()), show_progress=True, between_batches=stop_if_asked,
            **trainer.system.evaluation_inputs(),
        )  # fmt: skip

    def evaluate(self, trainer: Trainer) -> None:
        """Compute and log the metrics; keep the checkpoint when it is the best so far.

        StoppedInHookError on a request to stop.
        """
        state = trainer.state
        if state.step:
            self.checkpoints.save(trainer)
        try:
            report = evaluate(self.evaluation, self.config.names)
        except StoppedInHookError:
            trainer.supervisor.report_stop()
            raise
        except RuntimeError as error:
            # Ranks asked to stop leave at their next batch; those that already wait for them see a lost connection.
            if trainer.stop_requested and is_communication_error(error):
                raise StoppedInHookError from None
            raise
        if self.logger is None:
            return
        scalars = {PREFIX + result.name: result.value for result in report.results}
        self.logger.log(state.step, state.seen_kimg, state.seconds, scalars)
        result = self._judged(report.results)
        if _is_better(result, best_entry(self.checkpoints.folder)):
            self.checkpoints.mark_best(trainer, result.name, result.value)
        report.write(self._report_path(trainer))  # last: where it is, all of this was done

    def _judged(self, results: list[Result]) -> Result:
        for result in results:
            if self.config.best in (None, result.name):
                return result
        found = ", ".join(result.name for result in results)
        raise InputError(f"metrics.best must be one of the results {found}, got {self.config.best!r}")


def _is_better(result: Result, best: Mapping[str, Any] | None) -> bool:
    if not math.isfinite(result.value):
        return False
    if best is None or result.name != best["metric"]:  # none yet, or another metric was chosen since
        return True
    return result.value > best["value"] if result.higher_is_better else result.value < best["value"]


def describe_metrics(run_dir: Path) -> list[str]:
    """For each metric of a run's log one line: how it went over training, and its last value."""
    history: dict[str, list[tuple[float, float]]] = {}
    for values in read_log(run_dir / "log.jsonl"):
        for name in values:
            if name.startswith(PREFIX):
                history.setdefault(name.removeprefix(PREFIX), []).append((values["kimg"], values[name]))
    described = []
    for name, points in history.items():
        course = ", ".join(f"{value:.4g} at {kimg:g} kimg" for kimg, value in points)
        described.append(f"{name}: {points[-1][1]:.4g}, measured last at {points[-1][0]:g} kimg; over training {course}")
    return described
