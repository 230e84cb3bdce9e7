"""What a process has of its launcher: where it meets the others, and a watch for its end.

Launchers are torchrun, scripts/launch.py and the runner of a study.

*Meeting.* The processes of one start find each other, and none of an earlier start. After a failure torchrun starts all
processes again with the same store (pytorch/pytorch#135712). It still holds addresses of processes that have ended; a process
that reads one of them waits until its timeout, and the restart fails. Restarts cannot be numbered, since the launchers of
several machines count on their own. So rank 0 draws a name for each start and tells it to every rank. A rank asks under a
random name, which no earlier process can have used:

    rank r: asks/<r> = <own name>       rank 0: answers/<own name> = <start>       rank r: heard/<start>/<r>

*Watch.* A launcher that is killed cannot end its processes, which have sessions of their own. Without it nobody restarts them,
and Ctrl-C does not reach them. So each process checks every second that its parent and its launcher are still there. If not,
it sends itself a SIGTERM, as the launcher would have done: a training saves first.
"""

import ctypes
import datetime
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
WRITE_SECONDS = 5.0
POLL_SECONDS = 0.02  # of the store
STORE_SECONDS = 10.0  # for one request
VARIABLE = "SARIGAN_LAUNCHER"  # process number of `launch` or of a study's runner: it may be gone before its processes look
WATCH_SECONDS = 1.0
END_SECONDS = 300.0  # for an orderly end
_PR_SET_PDEATHSIG = 1
_started = False


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call()`, which runs in a thread of its own, or its exception.

    TimeoutError when it takes longer; the thread is then left behind.
    """
    done: dict[str, Any] = {}

    def run() -> None:
        try:
            done["result"] = call()
        except BaseException as error:
            done["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer for {seconds:g} s")
    if "error" in done:
        raise done["error"]
    result: T = done["result"]
    return result


def write_error(text: str) -> None:
    """Write to stderr, unless its reader is gone or does not read: neither raises an error nor waits for long."""
    with suppress(OSError):
        within(WRITE_SECONDS, lambda: os.write(2, text.encode()))


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
    import torch  # here: a command installs its signal handlers before the imports that take seconds
    from torch.distributed.rendezvous import rendezvous

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


def watch_launcher() -> None:
    """Start the check, once. Without a launcher there is none: a training that was started by hand may outlive its shell."""
    global _started
    if _started or not {"TORCHELASTIC_RUN_ID", VARIABLE} & os.environ.keys():
        return
    _started = True
    if sys.platform == "linux":
        # A process that is stopped cannot look: the kernel continues it when its launcher dies.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent, int(os.environ.get(VARIABLE, "0")) or parent), daemon=True).start()


def _runs(process: int) -> bool:
    """Whether there is such a process; one that has ended counts as gone before its parent has asked for its exit code."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):  # elsewhere than on Linux there is no such file
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def _watch(parent: int, launcher: int) -> None:
    while os.getppid() == parent and (launcher == parent or _runs(launcher)):
        time.sleep(WATCH_SECONDS)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        write_error(f"\nthe launcher, process {launcher}, is gone: stopping\n")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)
