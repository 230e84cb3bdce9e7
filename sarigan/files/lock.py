"""One job per run directory: a lock that the kernel lets go of when its holder ends, however it ends.

A POSIX record lock belongs to the process alone: data workers do not inherit it, and a killed job leaves nothing locked.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sarigan.errors import InputError
from sarigan.files.reading import read_json_object

LOCK_NAME = "lock.json"
log = logging.getLogger(__name__)


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold <run_dir>/lock.json while the block runs; InputError naming the holder when another job does."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / LOCK_NAME
    with open(path, "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise _in_use(run_dir) from None
        except OSError as error:
            log.warning(f"{path}: this file system has no locks ({error.strerror}); see to it that no other job runs here")
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T")}) + "\n")
        file.flush()
        yield


def require_unlocked(run_dir: Path) -> None:
    """InputError naming the holder when another job holds the lock; takes nothing and writes nothing."""
    path = run_dir / LOCK_NAME
    with suppress(FileNotFoundError), open(path) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of by closing
        except (BlockingIOError, PermissionError):
            raise _in_use(run_dir) from None
        except OSError:
            pass  # no locks here, as `run_lock` will say


def _in_use(run_dir: Path) -> InputError:
    return InputError(
        f"{run_dir}: in use by another job ({_holder(run_dir / LOCK_NAME)}); wait for it or choose another --run-dir"
    )


def _holder(path: Path) -> str:
    holder = read_json_object(path)
    if not {"process", "host", "since"} <= holder.keys():
        return "which did not say its name"
    return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
