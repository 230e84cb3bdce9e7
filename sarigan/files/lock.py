"""The one lock on files, and with it one job per run directory. The kernel lets go of it when its holder ends, however it ends.

A POSIX record lock belongs to the process alone: data workers do not inherit it, and a killed job leaves nothing locked.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sarigan.errors import InputError
from sarigan.files.reading import read_json_object

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "lock.json"
IN_USE = "in use by another job"
log = logging.getLogger(__name__)


def try_lock(file: IO, shared: bool = False) -> bool:
    """Lock an open file until it is closed; False when another process holds it. OSError when the file system has no locks.

    shared: many processes may hold it so at one time, but none beside one that holds it alone.
    """
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold <run_dir>/lock.json while the block runs; InputError naming the holder when another job does."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / LOCK_NAME
    with open(path, "a+") as file:
        try:
            if not try_lock(file):
                raise _in_use(run_dir)
        except OSError as error:
            log.warning(f"{path}: this file system has no locks ({error.strerror}); see to it that no other job runs here")
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T")}) + "\n")
        file.flush()
        yield


def require_unlocked(run_dir: Path) -> None:
    """InputError naming the holder when another job holds the lock; takes nothing and writes nothing."""
    path = run_dir / LOCK_NAME
    with suppress(OSError), open(path) as file:  # no such file, or no locks here, as `run_lock` will say
        if not try_lock(file, shared=True):
            raise _in_use(run_dir)


def _in_use(run_dir: Path) -> InputError:
    return InputError(f"{run_dir}: {IN_USE} ({_holder(run_dir / LOCK_NAME)}); wait for it or choose another --run-dir")


def _holder(path: Path) -> str:
    holder = read_json_object(path)
    if not {"process", "host", "since"} <= holder.keys():
        return "which did not say its name"
    return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
