"""Resuming: find the newest checkpoint that is not damaged, check that it fits, and restore it.

Most of a configuration may change when a run goes on: lengths, logging, devices, learning rates and loss weights act from the
next step on, and a line says so. What fixes the shape of a weight, or which image stands at a position, may not.
"""

import logging
import socket
from pathlib import Path
from typing import Any

from sarigan import distributed
from sarigan.config import Config, config_from_dict
from sarigan.errors import InputError
from sarigan.files.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, set_aside
from sarigan.files.lock import require_unlocked
from sarigan.files.reading import reading
from sarigan.training.run_config import class_difference
from sarigan.training.state import TrainingState

log = logging.getLogger(__name__)
# These decide which image stands at a position, and what is drawn for it.
DATA_ORDER = ("data.name", "data.crop", "data.num_images", "data.seed", "data.labels", "data.balanced", "training.seed")
# Changes of these are not logged: no weight depends on them, nor on the section `metrics`.
SILENT = (
    "data.path", "data.num_workers", "training.total_kimg", "training.max_minutes", "training.device", "training.tick_kimg",
    "training.sample_kimg", "training.checkpoint_kimg", "training.num_checkpoints", "training.num_samples",
    "training.precision", "training.max_images_per_pass", "training.images_per_rank", "training.rank_timeout_seconds",
    "training.init_from", "training.max_nonfinite_steps", "training.on_nonfinite", "training.memory_format",
    "training.cuda_graphs",
)  # fmt: skip


def differing_fields(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, value in a, value in b) wherever two nested configurations differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            found += differing_fields(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append((f"{prefix}{key}", x, y))
    return found


def check_same_run(there: dict[str, Any], config: Config, source: str) -> list[str]:
    """Lines about fields that act from now on with another value than in the checkpoint `source`.

    InputError listing the fields that must not differ. A field that the checkpoint does not know had today's default.
    """
    here, before = config.to_dict(), config_from_dict(there, source)
    fields = differing_fields(before.to_dict(), here)
    if before.class_names != config.class_names:
        raise InputError(f"{source}: {_other_classes(before, config)}")

    def among(*prefixes: str) -> str:
        chosen = [
            (name, a, b)
            for name, a, b in fields
            if name not in config.NOT_ARCHITECTURE and any(name == p or name.startswith(f"{p}.") for p in prefixes)
        ]
        return ", ".join(f"{name} ({a!r} there, {b!r} here)" for name, a, b in chosen)

    if differing := among("system", *config.ARCHITECTURE):
        raise InputError(f"{source}: checkpoint of another architecture; it differs in {differing}")
    if differing := among("training.batch_size"):
        a, b = there["training"]["batch_size"], here["training"]["batch_size"]
        raise InputError(f"{source}: training.batch_size must stay {a} when a run goes on, got {b}")
    if differing := among(*DATA_ORDER):
        raise InputError(
            f"{source}: a run goes on with the images and the seed it began with; it differs in {differing};"
            " another --run-dir starts anew"
        )
    told = [field for field in fields if field[0] not in SILENT and not field[0].startswith("metrics.")]
    return [f"{name} was {a!r}, is {b!r} from now on" for name, a, b in told]


def _other_classes(before: Config, config: Config) -> str:
    """Half a line about a run that was begun with other classes, or with none."""
    if not config.class_names:
        labels, count = before.data.labels, len(before.class_names)
        return f"was trained with {count} classes, here data.labels=null; data.labels={labels} goes on"
    if not before.class_names:
        return f"was trained without classes, here data.labels={config.data.labels}; another --run-dir starts anew"
    difference = class_difference(before.class_names, config.class_names)
    return f"was trained with {difference}; a run goes on with the classes it began with"


def other_images(there: str | None, here: str | None) -> list[str]:
    """A line when the data set's content key is not the checkpoint's; None: not known."""
    if None in (there, here) or there == here:
        return []
    return [f"data was {there!r}, is {here!r}: the run goes on with other images than it was trained on"]


def check_same_images(there: int | None, here: int | None, source: str) -> None:
    """InputError when the data set has another number of images than the checkpoint's; None: not known."""
    if None not in (there, here) and there != here:
        raise InputError(
            f"{source}: the run began with {there:,} images, the data set has {here:,}; a run goes on with the images it began"
            " with, another --run-dir starts anew"
        )


def newest_good_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, and its state, or None. Damaged ones are set aside with a warning.

    InputError when there are checkpoints and all of them are damaged.
    """
    if not list_checkpoints(folder):
        return None
    path, state, damaged = newest_good(folder)
    for bad, reason in damaged:
        log.warning(f"warning: {reason}; it is now {set_aside(bad).name}, and the run goes on from {path.name}")
    return path, state


def newest_good(folder: Path) -> tuple[Path, dict[str, Any], list[tuple[Path, InputError]]]:
    """The newest checkpoint that is whole, its state, and the newer ones that are damaged; InputError when there is none."""
    damaged: list[tuple[Path, InputError]] = []
    for path in list_checkpoints(folder)[::-1]:
        try:
            return path, load_checkpoint(path), damaged
        except DamagedCheckpointError as error:
            damaged.append((path, error))
    if not damaged:
        raise InputError(f"{folder}: holds no checkpoint-*.pt")
    raise InputError(f"{damaged[0][1]}; so are all {len(damaged)} checkpoints of {folder}: remove them to start anew")


def resume_summary(config: Config, run_dir: Path) -> str | None:
    """Lines on the checkpoint that a run in this directory would go on from; None when it would start anew. Changes nothing.

    InputError when the directory is another configuration's, of other images, or in use.
    """
    if not list_checkpoints(run_dir / "checkpoints"):
        return None
    require_unlocked(run_dir)
    path, state, _ = newest_good(run_dir / "checkpoints")
    config, dataset = config.open_data()
    with reading(path, "checkpoint of a run"):
        notes = check_same_run(state["config"], config, str(path))
    notes += _check_images(state, len(dataset), dataset.content_key, str(path))
    return "\n".join([f"goes on from {path}", *notes])


def _check_images(loaded: dict[str, Any], num_images: int | None, data_key: str | None, source: str) -> list[str]:
    with reading(source, "checkpoint of a run"):
        check_same_images(loaded.get("num_images"), num_images, source)
        return other_images(loaded.get("data_key"), data_key)


def require_the_newest_on_main(run_dir: Path) -> None:
    """InputError when another rank sees a newer checkpoint in `run_dir` than rank 0 does."""
    paths = list_checkpoints(run_dir / "checkpoints")
    seen = distributed.gather_objects((paths[-1].name if paths else "", socket.gethostname()))
    (here, main_host), (newest, host) = seen[0], max(seen)
    if newest > here:
        raise InputError(
            f"{run_dir}: {newest} is there on {host}, but {main_host}, with rank 0, sees {here or 'no checkpoint'}; put the"
            f" run directory where all machines see it, or copy it to {main_host}"
        )


def restore(state: TrainingState, loaded: dict[str, Any], source: str) -> list[str]:
    """Put a loaded checkpoint in place; returns lines about what will be different.

    InputError naming `source` and the fields when it is of another architecture, data order or data set.
    """
    with reading(source, "checkpoint of a run"):
        notes = check_same_run(loaded["config"], state.config, source)
    notes += _check_images(loaded, state.num_images, state.data_key, source)
    return notes + state.load_state_dict(loaded, source)


def resume_from_newest(state: TrainingState, run_dir: Path) -> bool:
    """Load the newest good checkpoint of the run directory and log what will be different; false when there is none.

    Rank 0 reads it for all, so the run directory need not be visible on every machine. InputError when another rank sees a
    newer one: then rank 0 has come to another machine than the run was on.
    """
    found = None
    with distributed.raise_on_all_ranks():
        require_the_newest_on_main(run_dir)
        if distributed.is_main():
            found = newest_good_checkpoint(run_dir / "checkpoints")
    found = distributed.from_main(found)
    if found is None:
        return False
    path, loaded = found
    notes = restore(state, loaded, str(path))
    if distributed.is_main():
        for note in notes:
            log.warning(note)
        log.info(f"going on from {path} at {state.seen_kimg:.1f} kimg")
    return True
