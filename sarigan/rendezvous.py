"""The processes of one start find each other, and none of an earlier start.

After a failure torchrun starts all processes again with the same store (pytorch/pytorch#135712). It still holds addresses of
processes that have ended; a process that reads one of them waits until its timeout, and the restart fails. Restarts cannot be
numbered, since the launchers of several machines count on their own. So rank 0 draws a name for each start and tells it to
every rank. A rank asks under a random name, which no earlier process can have used:

    rank r: asks/<r> = <own name>       rank 0: answers/<own name> = <start>       rank r: heard/<start>/<r>
"""

import datetime
import secrets
import time
from typing import Any

import torch
from torch.distributed.rendezvous import rendezvous

from sarigan.time_limit import within

POLL_SECONDS = 0.02
STORE_SECONDS = 10.0  # for one request


class AbsentError(RuntimeError):
    """Some ranks did not join in time."""


def meet(rank: int, world_size: int, timeout: datetime.timedelta) -> Any:
    """The launcher's store under a name that only this start knows; every rank calls it.

    AbsentError naming who is missing (on rank 0), RuntimeError or ValueError when there is no store to meet at.
    """
    try:
        # A request to a store whose process is stopped has no time limit of its own.
        return within(timeout.total_seconds() + STORE_SECONDS, lambda: _meet(rank, world_size, timeout))
    except TimeoutError as error:
        raise AbsentError(f"{error} from the store") from None


def _meet(rank: int, world_size: int, timeout: datetime.timedelta) -> Any:
    store, _, _ = next(rendezvous("env://", rank, world_size, timeout=timeout))
    place = torch.distributed.PrefixStore("sarigan/starts", store)  # type: ignore[attr-defined]
    start = _answer(place, world_size, timeout) if rank == 0 else _ask(place, rank, timeout)
    return torch.distributed.PrefixStore(f"sarigan/{start}", store)  # type: ignore[attr-defined]


def _answer(place: Any, world_size: int, timeout: datetime.timedelta) -> str:
    start, missing = secrets.token_hex(8), set(range(1, world_size))
    deadline = time.monotonic() + timeout.total_seconds()
    while missing:
        for rank in sorted(missing):
            if place.check([f"heard/{start}/{rank}"]):
                missing.remove(rank)
            elif place.check([f"asks/{rank}"]):  # perhaps of an earlier start: then nobody reads the answer
                place.set(f"answers/{place.get(f'asks/{rank}').decode()}", start)
        if missing and time.monotonic() > deadline:
            raise AbsentError(f"after {timeout.total_seconds():g} s rank {', '.join(map(str, sorted(missing)))} has not come")
        time.sleep(POLL_SECONDS)
    return start


def _ask(place: Any, rank: int, timeout: datetime.timedelta) -> str:
    name = secrets.token_hex(8)
    place.set(f"asks/{rank}", name)
    deadline = time.monotonic() + timeout.total_seconds()
    while not place.check([f"answers/{name}"]):  # `get` would wait where no signal is heard
        if time.monotonic() > deadline:
            raise AbsentError(f"after {timeout.total_seconds():g} s rank 0 has not come")
        time.sleep(POLL_SECONDS)
    start: str = place.get(f"answers/{name}").decode()
    place.set(f"heard/{start}/{rank}", "")
    return start
