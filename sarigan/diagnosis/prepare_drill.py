"""A preparation is killed at a random moment; the same command must then end in the same set."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile, partial_path
from sarigan.data.lmdb.format import STATE_KEY
from sarigan.errors import InputError

_WORKERS_END_SECONDS = 60.0  # far more than they take


@dataclass(frozen=True)
class Kill:
    """One kill and its consequences."""

    seconds: float  # after the start
    num_entries: int | None  # that had been saved; None: nothing yet, or the set was finished
    orphans: bool  # whether a worker outlived it
    mistaken: bool  # whether the unfinished set could be opened as a finished one
    content_hash: str  # after the same command has run to its end


def drill_preparation(command: list[str], destination: Path, times: int, seed: int = 0) -> tuple[str, list[Kill]]:
    """Run `command + [destination]` to its end, then `times` times with a SIGKILL at a moment drawn up to its duration.

    Returns the hash without a kill, and the kills. The destination is deleted before each.
    """
    draws = random.Random(seed)
    start = time.monotonic()
    expected = _finish(command, destination)
    duration = time.monotonic() - start
    kills = []
    for _ in range(times):
        shutil.rmtree(destination)
        seconds = draws.uniform(0, duration)
        process = subprocess.Popen(
            [*command, str(destination)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(seconds)
        process.kill()
        process.wait()
        orphans = not _group_ends(process.pid)
        saved, mistaken = _saved_entries(destination), _can_be_mistaken(destination)
        content_hash = LmdbDataset(destination).header.content_hash if destination.exists() else _finish(command, destination)
        kills.append(Kill(seconds, saved, orphans, mistaken, content_hash))
    shutil.rmtree(destination)
    return expected, kills


def _finish(command: list[str], destination: Path) -> str:
    done = subprocess.run([*command, str(destination)], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return LmdbDataset(destination).header.content_hash


def _group_ends(group: int) -> bool:
    """Whether no process of the group is left within some seconds."""
    deadline = time.monotonic() + _WORKERS_END_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    return False


def _saved_entries(destination: Path) -> int | None:
    try:
        state = LmdbFile(partial_path(destination)).get(STATE_KEY)
    except InputError:
        return None
    return None if state is None else int(json.loads(state)["state"]["num_entries"])


def _can_be_mistaken(destination: Path) -> bool:
    """Whether the unfinished set opens as a data set, under its own name or the one it will have."""
    unfinished = _saved_entries(destination) is not None
    for path in (destination, partial_path(destination)):
        try:
            LmdbDataset(path)
        except InputError:
            continue
        if unfinished:
            return True
    return False
