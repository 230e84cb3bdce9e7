"""A run and its directory: start the run, or go on with it.

<run>/config.yaml  environment.json  history.jsonl  log.jsonl  tensorboard/  reals.png  samples/<images>.png
<run>/checkpoints/checkpoint-<step>.pt
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
from sarigan.data.loader import ImageDataset, open_images
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints
from sarigan.files.lock import run_lock
from sarigan.files.reading import read_json_object, reading
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.evaluation_hook import EvaluationHook
from sarigan.runs.failure import ending_together, explained_out_of_memory
from sarigan.runs.history import record_end, record_start
from sarigan.runs.initial_weights import initialize_from
from sarigan.runs.resume import differing_fields, resume_from_newest
from sarigan.runs.summary import end_reason, machine_lines, overfitting_warning
from sarigan.runs.watchdog import Watchdog
from sarigan.signals import handling
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cuda_graphs import check_cuda_graphs
from sarigan.training.hooks import LogHook, ProgressHook, RunLogger, SampleHook, WarmUpHook
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.precision import PRECISIONS, Precision, resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Hook, Supervisor, Trainer

log = logging.getLogger(__name__)
MAX_ROLLBACKS = 3
LAST_WRITE_SECONDS = 20.0  # a checkpoint on its way to the disk gets, when another rank is lost


def recorded_precision(run_dir: Path) -> str | None:
    """The precision that a run with checkpoints was started with, from its environment.json; None for a new run."""
    precision = read_json_object(run_dir / "environment.json").get("precision")
    known = isinstance(precision, str) and precision in PRECISIONS
    return precision if known and list_checkpoints(run_dir / "checkpoints") else None


def prepare_run_dir(config: Config, state: TrainingState, data: str, run_dir: Path) -> RunLogger:
    """Write the resolved configuration, the environment and a line of the history; open the log. data: the set in one line."""
    run_dir.mkdir(parents=True, exist_ok=True)
    record_start(config, state, data, run_dir)
    return RunLogger(run_dir, state.step)


class RunSupervisor(Supervisor):
    """Tells the watchdog where the trainer is, and rolls back after bad steps. `logger` is None on all ranks but 0."""

    def __init__(self, watchdog: Watchdog, checkpoints: CheckpointHook, logger: RunLogger | None, run_dir: Path) -> None:
        self.watchdog, self.checkpoints, self.logger, self.run_dir = watchdog, checkpoints, logger, run_dir

    def report_position(self, where: str) -> None:
        self.watchdog.mark(where)

    def report_stop(self) -> None:
        self.watchdog.post("stopped in an evaluation, as asked; what was trained is saved", code=0)

    def roll_back(self, trainer: Trainer, error: NonfiniteError) -> bool:
        """Restore the last checkpoint and go on with other latents, if the configuration allows it, three times at most."""
        state = trainer.state
        attempt = state.num_rollbacks + 1
        if state.config.training.on_nonfinite != "roll_back" or attempt > MAX_ROLLBACKS:
            return False
        self.checkpoints.writer.wait()
        if not resume_from_newest(state, self.run_dir):
            return False
        state.num_rollbacks = attempt
        self.checkpoints.saved_step = state.step
        if self.logger is not None:
            self.logger.drop_after(state.step)
            log.warning(f"warning: {error}; rolled back to step {state.step}, attempt {attempt} of {MAX_ROLLBACKS}")
        return True


def train(config: Config, run_dir: Path) -> Trainer:
    """Train until the configuration's end, a time limit, Ctrl-C or SIGTERM; the same call goes on where it stopped.

    Every process of a launcher calls it. Returns the trainer. Raises InputError for whatever the user can put right.
    """
    with distributed.process_group():
        return _train(config, run_dir)


def _train(config: Config, run_dir: Path) -> Trainer:
    early = StopRequest()
    with ExitStack() as opened:
        opened.enter_context(stop_on_signal(early))
        watchdog = Watchdog(config.training.rank_timeout_seconds)
        opened.callback(watchdog.close)
        opened.enter_context(ending_together(watchdog))
        config, dataset, precision = open_inputs(config, run_dir)
        state = opened.enter_context(locked_state(config, precision, dataset, run_dir))
        logger = open_directory(config, state, dataset, run_dir)
        checkpoints = CheckpointHook(run_dir / "checkpoints", config.training.checkpoint_kimg, config.training.num_checkpoints)
        watchdog.before_exit = lambda: checkpoints.writer.wait(LAST_WRITE_SECONDS)
        supervisor = RunSupervisor(watchdog, checkpoints, logger, run_dir)
        trainer = Trainer(state, dataset, build_hooks(config, logger, run_dir, checkpoints, dataset), supervisor)
        try:
            # Closing flushes, which a full disk refuses.
            with stop_on_signal(trainer, watchdog), closing(logger) if logger is not None else nullcontext():
                trainer.stop_requested |= early.stop_requested
                with explained_out_of_memory(trainer), remembered_end(trainer, run_dir):
                    trainer.run()
        except OSError as error:
            place = error.filename or run_dir
            reason = f"{place}: {error.strerror or error}"
            raise InputError(f"{reason}; training stopped, earlier checkpoints are untouched") from error
        return trainer


def open_inputs(config: Config, run_dir: Path) -> tuple[Config, ImageDataset, Precision]:
    """The configuration with what the data decide, the data set and the precision, after a check that all ranks have the same.

    A run that goes on keeps the precision that its directory records.
    """
    recorded = distributed.from_main(recorded_precision(run_dir) if distributed.is_main() else None)
    with distributed.raise_on_all_ranks():
        require_one_config(config)
        plan_batch(config.training, distributed.world_size())
        config, dataset = config.open_data()
        compared_images(config, dataset)
        precision = resolve_precision(config.training, recorded)
        check_cuda_graphs(config.training, precision.device, distributed.world_size())
    return config, dataset, dataclasses.replace(precision, name=distributed.from_main(precision.name))


def compared_images(config: Config, dataset: ImageDataset) -> ImageDataset:
    """What metrics compare with during training: `metrics.data`, or the training images. InputError when it is not there."""
    if not config.metrics.names or config.metrics.data is None:
        return dataset
    with reading("metrics.data", "set of images"):
        return open_images(config.metrics.data, config.resolution)


def refuse_what_training_would(
    config: Config, dataset: ImageDataset, state: TrainingState, run_dir: Path, resumes: bool, num_ranks: int
) -> None:  # fmt: skip
    """InputError for what would end `train` before its first step, beside configuration and data, which are there already."""
    compared_images(config, dataset)
    check_cuda_graphs(config.training, state.precision.device, num_ranks)
    if not resumes and config.training.init_from is not None:
        initialize_from(state, config.training.init_from)
    place = next(place for place in (run_dir, *run_dir.resolve().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{run_dir}: cannot write the run directory ({place} is no folder that this user may write)")


@contextmanager
def locked_state(config: Config, precision: Precision, dataset: ImageDataset, run_dir: Path) -> Iterator[TrainingState]:
    """The state of the newest checkpoint, or of step 0; this job holds the lock of the run directory while the block runs.

    At step 0 the weights are those of `training.init_from`, or drawn.
    """
    with ExitStack() as opened:
        with distributed.raise_on_all_ranks(), writing_to(run_dir):
            state = TrainingState(config, precision)
            state.num_images = len(dataset)
            if distributed.is_main():
                state.data_key = getattr(dataset, "content_key", None)
                opened.enter_context(run_lock(run_dir))
        with distributed.raise_on_all_ranks():
            resumed = resume_from_newest(state, run_dir)
        if not resumed and config.training.init_from is not None:
            initialize_from(state, config.training.init_from)
        yield state


def open_directory(config: Config, state: TrainingState, dataset: ImageDataset, run_dir: Path) -> RunLogger | None:
    """Write configuration and environment, open the log, and print what a person should know. Returns the log, on rank 0."""
    logger = None
    with distributed.raise_on_all_ranks(), writing_to(run_dir):
        if distributed.is_main():
            logger = prepare_run_dir(config, state, dataset.describe(), run_dir)
    if distributed.is_main():
        announce(config, state, dataset, run_dir)
    return logger


def build_hooks(
    config: Config, logger: RunLogger | None, run_dir: Path, checkpoints: CheckpointHook, dataset: ImageDataset
) -> list[Hook]:
    """The hooks of a run; `logger` is rank 0's, None elsewhere."""
    training = config.training
    # Logging looks for non-finite losses first, so nothing else is written after one.
    progress = ProgressHook()
    hooks: list[Hook] = [WarmUpHook(), progress, LogHook(logger, training.tick_kimg, progress), checkpoints]
    if logger is not None:
        hooks.append(SampleHook(logger, run_dir / "samples", training.num_samples, training.sample_kimg))
    if config.metrics.names:
        compared = compared_images(config, dataset)
        hooks.append(EvaluationHook(logger, run_dir, config.metrics, compared, checkpoints))
    return hooks


@contextmanager
def remembered_end(trainer: Trainer, run_dir: Path) -> Iterator[None]:
    """Write why the run ends into its history, on rank 0."""
    reason = None
    try:
        yield
    except BaseException as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise
    finally:
        if distributed.is_main():
            record_end(trainer.state, reason or end_reason(trainer), run_dir)


@contextmanager
def writing_to(run_dir: Path) -> Iterator[None]:
    """Turn an OSError into an InputError that names the run directory."""
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


def announce(config: Config, state: TrainingState, dataset: ImageDataset, run_dir: Path) -> None:
    """Log what a person should know before the first step."""
    plan = plan_batch(config.training, distributed.world_size())
    for line in machine_lines(config, state, run_dir):
        log.info(line)
    for line in state.system.notes():
        log.info(line)
    log.info(f"data: {dataset.describe()}")
    if plan.num_ranks * plan.num_rounds > 1:
        log.info(f"batch: {plan.describe()}")
    for warning in (
        overfitting_warning(config, len(dataset)),
        config.batch_warning(plan),
    ):
        if warning:
            log.warning(warning)


class StopRequest:
    """Records a request to stop that arrives before there is a trainer."""

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

    with handling(request_stop):
        if watchdog is not None:
            descriptor = signal.set_wakeup_fd(watchdog.signal_descriptor, warn_on_full_buffer=False)
        try:
            yield
        finally:
            if watchdog is not None:
                signal.set_wakeup_fd(descriptor)
