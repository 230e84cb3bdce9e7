"""Going on from the newest checkpoint that is whole."""

import logging
import socket
from pathlib import Path
from typing import Any

from sarigan import distributed
from sarigan.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, set_aside
from sarigan.errors import InputError
from sarigan.training.state import TrainingState

log = logging.getLogger(__name__)


def newest_good_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, and its state; damaged ones are set aside with a warning. None: there is none.

    InputError when there are checkpoints and all of them are damaged.
    """
    paths = list_checkpoints(folder)[::-1]
    damaged = []
    for path in paths:
        try:
            state = load_checkpoint(path)
        except DamagedCheckpointError as error:
            damaged.append((path, error))
            continue
        for bad, reason in damaged:
            log.warning(f"warning: {reason}; it is now {set_aside(bad).name}, and the run goes on from {path.name}")
        return path, state
    if damaged:
        path, reason = damaged[0]
        raise InputError(f"{reason}; so are all {len(damaged)} checkpoints of {folder}: remove them to start anew")
    return None


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


def resume_from_newest(state: TrainingState, run_dir: Path) -> bool:
    """Load the newest good checkpoint of the run directory, if there is one, which it returns; logs what will be different.

    Rank 0 reads it for all, so the run directory need not be visible on every machine. InputError when another rank sees a
    newer one: then rank 0 has come to another machine than the run was on.
    """
    found = None
    with distributed.in_unison():
        require_the_newest_on_main(run_dir)
        if distributed.is_main():
            found = newest_good_checkpoint(run_dir / "checkpoints")
    found = distributed.from_main(found)
    if found is None:
        return False
    path, loaded = found
    notes = state.load_state_dict(loaded, str(path))
    if distributed.is_main():
        for note in notes:
            log.warning(note)
        log.info(f"going on from {path} at {state.seen_kimg:.1f} kimg")
    return True
