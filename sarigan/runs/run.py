"""A run and its directory: start it or go on with it, and leave everything there.

<run>/config.yaml  environment.json  log.jsonl  tensorboard/  samples/<images>.png  checkpoints/checkpoint-<step>.pt
"""

import dataclasses
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType

from sarigan import distributed
from sarigan.config import Config
from sarigan.data.loader import ImageDataset, open_dataset
from sarigan.errors import InputError
from sarigan.files.lock import run_lock
from sarigan.files.run_log import RunLogger
from sarigan.runs.compatibility import differing_fields
from sarigan.runs.evaluation_hook import EvaluationHook
from sarigan.runs.failure import ending_together
from sarigan.runs.resume import resume_from_newest
from sarigan.runs.run_directory import prepare_run_dir, recorded_precision
from sarigan.runs.summary import group_caps, overfitting_warning
from sarigan.runs.watchdog import Watchdog
from sarigan.training.batch_plan import BatchPlan, plan_batch
from sarigan.training.hooks import CheckpointHook, Hook, LogHook, ProgressHook, SampleHook
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

log = logging.getLogger(__name__)
LAST_WRITE_SECONDS = 20.0  # a checkpoint on its way to the disk gets, when another rank is lost
MAX_ROLLBACKS = 3


def train(config: Config, run_dir: Path) -> Trainer:
    """Train until the configuration's end, a time limit, Ctrl-C or SIGTERM; the same call goes on where it stopped.

    Every process of a launcher calls it. Returns the trainer. Raises InputError for whatever the user can put right.
    """
    with distributed.process_group():
        return _train(config, run_dir)


def _train(config: Config, run_dir: Path) -> Trainer:
    main = distributed.is_main()
    early = StopRequest()
    with ExitStack() as opened:
        opened.enter_context(stop_on_signal(early))
        watchdog = Watchdog(config.training.rank_timeout_seconds)
        opened.callback(watchdog.close)
        opened.enter_context(ending_together(watchdog))
        with distributed.in_unison():
            require_one_config(config)
        recorded = distributed.from_main(recorded_precision(run_dir) if main else None)
        with distributed.in_unison():
            plan = plan_batch(config.training, distributed.world_size())
            dataset = open_dataset(config.data, config.generator.resolution)
            precision = resolve_precision(config.training, recorded)
        precision = dataclasses.replace(precision, name=distributed.from_main(precision.name))
        with distributed.in_unison():
            state = TrainingState(config, precision)
            state.num_images = len(dataset)
            state.data_key = dataset.content_key if main else None
        with distributed.in_unison(), writing_to(run_dir):
            if main:
                opened.enter_context(run_lock(run_dir))
        with distributed.in_unison():
            resume_from_newest(state, run_dir)
        logger = None
        with distributed.in_unison(), writing_to(run_dir):
            if main:
                logger = prepare_run_dir(config, state, run_dir)
        if main:
            announce(config, state, plan, dataset)
        checkpoints = CheckpointHook(run_dir / "checkpoints", config.training.checkpoint_kimg, config.training.num_checkpoints)
        trainer = Trainer(state, dataset, build_hooks(config, logger, run_dir, checkpoints, dataset))
        trainer.roll_back = lambda error: roll_back(trainer, checkpoints, logger, run_dir, error)
        trainer.mark = watchdog.mark
        trainer.post_stop = lambda: watchdog.post("stopped in an evaluation, as asked; what was trained is saved", code=0)
        watchdog.before_exit = lambda: checkpoints.writer.wait(LAST_WRITE_SECONDS)
        try:
            # Closing flushes, which a full disk refuses.
            with stop_on_signal(trainer, watchdog), closing(logger) if logger is not None else nullcontext():
                trainer.stop_requested |= early.stop_requested
                trainer.run()
        except OSError as error:
            place = error.filename or run_dir
            reason = f"{place}: {error.strerror or error}"
            raise InputError(f"{reason}; training stopped, earlier checkpoints are untouched") from error
        return trainer


def build_hooks(
    config: Config, logger: RunLogger | None, run_dir: Path, checkpoints: CheckpointHook, dataset: ImageDataset
) -> list[Hook]:
    """The hooks of a run; `logger` is rank 0's, None elsewhere."""
    training = config.training
    # Logging looks for non-finite losses first, so nothing else is written after one.
    hooks: list[Hook] = [ProgressHook(), LogHook(logger, training.tick_kimg), checkpoints]
    if logger is not None:
        hooks.append(SampleHook(logger, run_dir / "samples", training.num_samples, training.sample_kimg))
    if config.metrics.names:
        hooks.append(EvaluationHook(logger, run_dir, config.metrics, dataset, checkpoints))
    return hooks


def roll_back(
    trainer: Trainer, checkpoints: CheckpointHook, logger: RunLogger | None, run_dir: Path, error: NonfiniteError
) -> bool:
    """Back to the last checkpoint with other latents, if the configuration wants it and it was not done too often."""
    state = trainer.state
    attempt = state.num_rollbacks + 1
    if state.config.training.on_nonfinite != "roll_back" or attempt > MAX_ROLLBACKS:
        return False
    checkpoints.writer.wait()
    if not resume_from_newest(state, run_dir):
        return False
    state.num_rollbacks = attempt
    checkpoints.saved_step = state.step
    if logger is not None:
        logger.drop_after(state.step)
        log.warning(f"warning: {error}; rolled back to step {state.step}, attempt {attempt} of {MAX_ROLLBACKS}")
    return True


@contextmanager
def writing_to(run_dir: Path) -> Iterator[None]:
    """Turn a failure to write into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{run_dir}: cannot write the run directory ({error.strerror})") from None


def require_one_config(config: Config) -> None:
    """InputError with the fields in which the configurations of the processes differ."""
    for index, other in enumerate(distributed.gather_objects(config.to_dict())):
        fields = differing_fields(distributed.from_main(config.to_dict()), other)
        if fields:
            differing = ", ".join(f"{name} ({a!r} on rank 0, {b!r} there)" for name, a, b in fields)
            raise InputError(f"rank {index} has another configuration than rank 0: {differing}; start all with the same")


def announce(config: Config, state: TrainingState, plan: BatchPlan, dataset: ImageDataset) -> None:
    """Log what a person should know before the first step."""
    for line in group_caps(state.generator):
        log.info(line)
    log.info(f"data: {dataset.describe()}")
    if plan.num_ranks * plan.num_rounds > 1:
        log.info(f"batch: {plan.describe()}")
    for warning in (
        overfitting_warning(len(dataset), config.training.total_kimg),
        plan.warning(config.discriminator.minibatch_stddev_group),
    ):
        if warning:
            log.warning(warning)


class StopRequest:
    """Whether somebody has asked for an end before there is a trainer to ask."""

    stop_requested = False


@contextmanager
def stop_on_signal(trainer: Trainer | StopRequest, watchdog: Watchdog | None = None) -> Iterator[None]:
    """Ctrl-C or SIGTERM lets the step finish, saves and ends; a second Ctrl-C stops at once."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        first, trainer.stop_requested = not trainer.stop_requested, True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if first and distributed.is_main():
            with suppress(OSError):  # nobody reads it any more
                os.write(2, b"\nstopping after this step; Ctrl-C stops at once\n")  # a handler may not use buffered streams

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if watchdog is not None:
        descriptor = signal.set_wakeup_fd(watchdog.signal_descriptor, warn_on_full_buffer=False)
    try:
        yield
    finally:
        if watchdog is not None:
            signal.set_wakeup_fd(descriptor)
        for number, handler in previous.items():
            signal.signal(number, handler)
