"""Texts about a configuration for a person: the model table, the data, warnings, the dry run's report."""

import dataclasses
from pathlib import Path

from sarigan import distributed
from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.training.batch_plan import plan_batch
from sarigan.training.state import TrainingState

# Below 20,000 images and beyond 50 showings of each, overfitting is near (docs/datasets.md, "Small sets").
SMALL_SET = 20_000
LONG_EPOCHS = 50
PAPER_RANKS = 8


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
    warning = overfitting_warning(len(dataset), config.training.total_kimg)
    return dataset.describe() + (f"\n{warning}" if warning else "")


def overfitting_warning(num_images: int, total_kimg: float) -> str | None:
    """A warning when a small set is shown so often that the discriminator may overfit to it; None otherwise."""
    epochs = total_kimg * 1000 / num_images
    one_on_purpose = num_images == 1
    if one_on_purpose or num_images >= SMALL_SET or epochs <= LONG_EPOCHS:
        return None
    return (
        f"warning: {num_images:,} images are few for {total_kimg:g} kimg, which show each {epochs:.0f} times: expect"
        f" overfitting after about {LONG_EPOCHS} (watch FID, keep the best checkpoint; docs/datasets.md)"
    )


def process_arithmetic(config: Config, num_ranks: int | None = None) -> list[str]:
    """How the batch is cut over a number of processes, and what the cut changes. InputError when it cannot be.

    None: over those there are; where there is one, what 8 would do, the paper's number.
    """
    if num_ranks is not None and num_ranks < 1:
        raise InputError(f"--processes must be at least 1, got {num_ranks}")
    if num_ranks is not None or distributed.world_size() > 1:
        num_ranks = num_ranks or distributed.world_size()
        plan = plan_batch(config.training, num_ranks)
    else:
        if config.training.batch_size == 1:
            return []  # one sample a step is one process's
        num_ranks = PAPER_RANKS
        try:
            plan = plan_batch(dataclasses.replace(config.training, images_per_rank=None), num_ranks)
        except InputError as error:
            return [f"on {num_ranks} processes: {error}"]
    warning = plan.warning(config.shard_multiple)
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
