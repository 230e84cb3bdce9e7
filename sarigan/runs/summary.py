"""Texts about a configuration for a person: the model table, the data, warnings, the dry run's report."""

import shutil
from pathlib import Path

import torch

from sarigan import distributed
from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.progress import duration_text
from sarigan.runs.checkpoint_hook import checkpoint_bytes
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cpu_processes import count_processes
from sarigan.training.state import TrainingState, numeric_platform
from sarigan.training.trainer import Trainer

# Below 20,000 images and beyond 50 showings of each, overfitting is near (docs/datasets.md, "Small sets").
SMALL_SET = 20_000
LONG_EPOCHS = 50
FLOAT_BYTES = 4


def model_table(state: TrainingState) -> str:
    """A table: the number of parameters of every part, and a remark."""
    rows = state.system.describe()
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:<{width}}  {count:>12,}  {text}".rstrip() for name, count, text in rows)


def data_summary(config: Config, required: bool = False) -> str:
    """One line about the training images; of a prepared set that is not there yet, what to do, unless it is required.

    InputError otherwise.
    """
    try:
        config, dataset = config.open_data()
    except InputError as error:
        if required or config.data.name != "lmdb" or Path(str(config.data.path)).exists():
            raise
        return f"missing: {error}"
    warning = overfitting_warning(config, len(dataset))
    return dataset.describe() + (f"\n{warning}" if warning else "")


def overfitting_warning(config: Config, num_images: int) -> str | None:
    """A warning when a small set is shown so often that the discriminator may overfit to it; None otherwise."""
    total_kimg = config.training.total_kimg
    epochs = total_kimg * 1000 / num_images
    one_on_purpose = num_images == 1
    if one_on_purpose or num_images >= SMALL_SET or epochs <= LONG_EPOCHS:
        return None
    then = LONG_EPOCHS * num_images / 1000
    augmented = config.training.augmentation.name != "none"
    later = "; later with training.augmentation, which is on" if augmented else "; training.augmentation.name=ada puts it off"
    own = config.metrics.names and config.metrics.data is None
    judged = "; metrics compare with these same images: metrics.data names a set kept apart" if own else ""
    return (
        f"warning: {num_images:,} images are few for {total_kimg:g} kimg, which show each {epochs:.0f} times: the discriminator"
        f" may know them by heart once each was shown about {LONG_EPOCHS} times, at {then:,.0f} kimg{later}{judged}"
        " (docs/small-data.md)"
    )


def machine_lines(config: Config, state: TrainingState, run_dir: Path) -> list[str]:
    """What a run computes on, what it takes of memory and disk, and of time, as far as that is known before it starts."""
    found = numeric_platform(state.precision)
    ranks = distributed.world_size()
    sharing = count_processes(config, state.precision.device, plan_batch(config.training, ranks))
    where = f"{max(1, torch.get_num_threads() // sharing)} thread(s) a process"
    if found["device"] == "cuda":
        where = torch.cuda.get_device_name(state.precision.device)
    step = state.system.state_dict()
    moments = 2 * FLOAT_BYTES * sum(p.numel() for n in state.system.networks.values() for p in n.parameters())
    checkpoint = checkpoint_bytes(step) + (0 if state.step else moments)  # optimisers make theirs in the first step
    disk = shutil.disk_usage(next(place for place in (run_dir, *run_dir.resolve().parents) if place.exists()))
    kept = num_files(config)
    lines = [
        f"machine: {found['device']} ({where}), {found['precision']}, {found['operators']} operators,"
        f" {ranks * sharing} process(es)",
        f"memory: {size_text(checkpoint)} of weights, averages and optimisers, and what a step takes beside them",
        f"disk: {kept} checkpoints of {size_text(checkpoint)} in {run_dir}, {size_text(disk.free)} free",
        _expected_time(config, state),
    ]
    if kept * checkpoint > disk.free:
        lines.append(f"warning: {run_dir}: too little room for {kept} checkpoints; training.num_checkpoints=1 takes less")
    return lines


def num_files(config: Config) -> int:
    """How many checkpoints lie on the disk at a time: one is written before the oldest goes, and the best stays."""
    return config.training.num_checkpoints + 1 + bool(config.metrics.names)


def _expected_time(config: Config, state: TrainingState) -> str:
    """One line: the time limit and the mean speed so far decide, where there are any."""
    training = config.training
    limit = None if training.max_minutes is None else max(0.0, training.max_minutes - state.seconds / 60)
    most = "" if limit is None else f", for at most {duration_text(60 * limit)} by training.max_minutes"
    left = max(0.0, training.total_kimg - state.seen_kimg)
    if state.seconds:
        expected = duration_text(left * state.seconds / state.seen_kimg)
        return f"time: {left:g} kimg to go, {expected} at the mean speed so far{most}"
    return f"time: {left:g} kimg to go{most}; the bar tells the rest once steps are timed, --dry-run times some before"


def end_reason(trainer: Trainer) -> str:
    """Why a run has ended, with the setting that decided it."""
    training = trainer.state.config.training
    if trainer.state.step >= trainer.total_steps:
        return f"training.total_kimg={training.total_kimg:g} is reached"
    if trainer.is_interrupted():
        return "a signal asked for it (Ctrl-C, SIGTERM)"
    return f"training.max_minutes={training.max_minutes:g} is reached" if training.max_minutes is not None else "it was stopped"


def size_text(number: float) -> str:
    """A number of bytes for a person."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def process_arithmetic(config: Config, num_ranks: int | None = None) -> list[str]:
    """How the batch is cut over a number of processes, and what the cut changes. InputError when it cannot be.

    None: over those there are; of one there is nothing to say.
    """
    if num_ranks is not None and num_ranks < 1:
        raise InputError(f"--processes must be at least 1, got {num_ranks}")
    if num_ranks is None and distributed.world_size() == 1:
        return []
    num_ranks = num_ranks or distributed.world_size()
    plan = plan_batch(config.training, num_ranks)
    warning = config.batch_warning(plan)
    return [f"on {num_ranks} processes: {plan.describe()}", *([warning] if warning else [])]


def dry_run_report(
    config: Config, state: TrainingState, data: str, num_ranks: int | None = None, resumed: str | None = None
) -> str:
    """Resolved configuration, model table, the lines of `data_summary`, `process_arithmetic` and `resume_summary`."""
    training = config.training
    steps = -(-round(training.total_kimg * 1000) // training.batch_size)
    lines = [
        config.to_yaml().rstrip(),
        "",
        model_table(state),
        "",
        f"data: {data}",
        f"run: {steps:,} steps of {training.batch_size} images in {training.accumulation_rounds} round(s),"
        f" {state.precision.name} on {state.precision.device}",
        *state.system.notes(),
        *process_arithmetic(config, num_ranks),
        *([resumed] if resumed else []),
    ]
    return "\n".join(lines)
