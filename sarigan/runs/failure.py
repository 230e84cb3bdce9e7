"""When one of several processes raises an exception, all of them end, and one prints the line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sarigan import distributed
from sarigan.data.loader import dead_worker_error
from sarigan.distributed import SharedInputError
from sarigan.errors import EXIT_CODE, InputError
from sarigan.runs.watchdog import FAILURE_CODE, Watchdog

_COMMUNICATION = re.compile(r"gloo|nccl|connection|peer|socket|broken pipe|timed? ?out", re.IGNORECASE)


@contextmanager
def ending_together(watchdog: Watchdog) -> Iterator[None]:
    """What ends the block on this rank is made known to all. An InputError of another rank than 0 is printed by rank 0."""
    try:
        yield
    except SharedInputError:
        raise
    except InputError as error:
        _end_all(watchdog, str(error), EXIT_CODE)
        if distributed.rank() == 0:
            raise
        raise SharedInputError(str(error)) from error
    except Exception as error:
        # PyTorch reports a dead data worker from a signal handler, wherever the main thread happens to be.
        dead = dead_worker_error(error) if isinstance(error, RuntimeError) else None
        if dead is not None:
            _end_all(watchdog, str(dead), EXIT_CODE)
            raise (dead if distributed.rank() == 0 else SharedInputError(str(dead))) from None
        if distributed.world_size() > 1:
            if is_communication_error(error):
                watchdog.explain(error)
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            _end_all(watchdog, f"failed with {type(error).__name__}: {reason}", FAILURE_CODE)
        raise


def _end_all(watchdog: Watchdog, line: str, code: int) -> None:
    rank = distributed.rank()
    watchdog.close()  # what this rank has to say it says itself
    watchdog.post(f"rank {rank}: {line}" if rank else line, code)


def is_communication_error(error: Exception) -> bool:
    """Whether a collective failed, most likely because another rank did."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and _COMMUNICATION.search(str(error)) is not None
