"""Processes that decode images for a `DataLoader`: they ignore SIGTERM and Ctrl-C, and end when the training process ends.

Both signals reach the whole process group. A worker that died of one would fail the step that the training process finishes
before it saves. Three things end the workers: the kernel kills them with their parent, PyTorch ends them through their queues,
and those that are left after some seconds are killed.
"""

import ctypes
import multiprocessing
import re
import signal
import sys
import time
from multiprocessing.process import BaseProcess

import torch

from sarigan.errors import InputError

GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_DEATH = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (.*)")


def start_worker(worker: int) -> None:
    """First thing in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    torch.set_num_threads(1)


class WorkerEnd:
    """The worker processes that start between `__init__` and `started`, to be ended by `close`."""

    def __init__(self) -> None:
        self._before = {process.pid for process in multiprocessing.active_children()}
        self._mine: list[BaseProcess] = []

    def started(self) -> None:
        """All of them are there."""
        self._mine = [process for process in multiprocessing.active_children() if process.pid not in self._before]

    def close(self) -> None:
        """After the loader's own end: kill whatever is left after the grace, so that no exit waits for it."""
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._mine:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def dead_worker_error(error: RuntimeError) -> InputError | None:
    """The line for a worker that died, None for any other error."""
    found = _DEATH.search(" ".join(str(error).split()))
    if found is None:
        return None
    end = re.search(r"killed by signal: ([^.]+)\.", found[2])
    how = f"was killed by signal {end[1].strip()}" if end else "ended unexpectedly"
    return InputError(
        f"data worker process {found[1].strip()} {how}, perhaps for want of memory: try fewer data.num_workers, or 0 to see"
        " its error; the same command goes on from the last checkpoint"
    )
