"""A run and its directory: start it or go on with it, and leave everything there.

<run>/config.yaml  environment.json  log.jsonl  tensorboard/  samples/<images>.png  checkpoints/checkpoint-<step>.pt
"""

import json
import logging
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import torch

from sarigan import distributed
from sarigan.checkpoint import list_checkpoints, load_checkpoint
from sarigan.code_version import git_commit
from sarigan.config import Config
from sarigan.data.loader import open_dataset
from sarigan.errors import InputError
from sarigan.logger import RunLogger
from sarigan.training.hooks import CheckpointHook, LogHook, ProgressHook, SampleHook
from sarigan.training.precision import PRECISIONS, resolve_precision
from sarigan.training.state import TrainingState, numeric_platform
from sarigan.training.summary import group_caps, overfitting_warning
from sarigan.training.trainer import Trainer

log = logging.getLogger(__name__)


def train(config: Config, run_dir: Path) -> Trainer:
    """Train until the configuration's end, a time limit, Ctrl-C or SIGTERM; the same call goes on where it stopped.

    Returns the trainer. Raises InputError for whatever the user can put right.
    """
    distributed.require_single_process()
    dataset = open_dataset(config.data, config.generator.resolution)
    state = TrainingState(config, resolve_precision(config.training, recorded_precision(run_dir)))
    resume_from_newest(state, run_dir)
    try:
        logger = prepare_run_dir(config, state, run_dir)
    except OSError as error:
        raise InputError(f"{run_dir}: cannot write the run directory ({error.strerror})") from None
    for line in group_caps(state.generator):
        log.info(line)
    log.info(f"data: {dataset.describe()}")
    overfitting = overfitting_warning(len(dataset), config.training.total_kimg)
    if overfitting:
        log.warning(overfitting)
    training = config.training
    # Logging looks for non-finite losses first, so nothing else is written after one.
    hooks = [
        ProgressHook(),
        LogHook(logger, training.tick_kimg),
        CheckpointHook(run_dir / "checkpoints", training.checkpoint_kimg, training.num_checkpoints),
        SampleHook(logger, run_dir / "samples", training.num_samples, training.sample_kimg),
    ]
    trainer = Trainer(state, dataset, hooks)
    try:
        # Closing flushes, which a full disk refuses.
        with stop_on_signal(trainer), closing(logger):
            trainer.run()
    except OSError as error:
        place = error.filename or run_dir
        raise InputError(f"{place}: {error.strerror or error}; training stopped, earlier checkpoints are untouched") from error
    return trainer


def recorded_precision(run_dir: Path) -> str | None:
    """The precision that a run with checkpoints was started with, from its environment.json; None for a new run."""
    try:
        precision = json.loads((run_dir / "environment.json").read_text())["precision"]
    except (OSError, ValueError, KeyError):
        return None
    return precision if list_checkpoints(run_dir / "checkpoints") and precision in PRECISIONS else None


def resume_from_newest(state: TrainingState, run_dir: Path) -> None:
    """Load the newest checkpoint of the run directory, if there is one; logs what will not be bit-identical."""
    found = list_checkpoints(run_dir / "checkpoints")
    if not found:
        return
    for warning in state.load_state_dict(load_checkpoint(found[-1]), str(found[-1])):
        log.warning(warning)
    log.info(f"going on from {found[-1]} at {state.seen_kimg:.1f} kimg")


def prepare_run_dir(config: Config, state: TrainingState, run_dir: Path) -> RunLogger:
    """Write the resolved configuration and the environment; open the log."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(config.to_yaml())
    environment = {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": git_commit(),
        **numeric_platform(state.precision),
        "cuda": torch.version.cuda,
    }
    (run_dir / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
    return RunLogger(run_dir, state.step)


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C or SIGTERM lets the step finish, saves and ends; a second Ctrl-C stops at once."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        trainer.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
