"""Processes that tests start: deadlines, and an end for whatever a test leaves behind.

No assertion is about elapsed time. A deadline only ends a test that would never end, so it is minutes; a very slow machine
multiplies all of them by SARIGAN_TEST_TIMEOUT_SCALE.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
MINUTE = 60.0 * float(os.environ.get("SARIGAN_TEST_TIMEOUT_SCALE", "1"))
DEADLINE = 5 * MINUTE
MARK = "SARIGAN_TEST_PROCESS"
# Of Python's multiprocessing: they serve all tests and end with this process.
_SERVERS = re.compile(rb"multiprocessing\.(forkserver|resource_tracker)")


def wait_until(condition: Callable[[], T], what: str, running: Callable[[], bool] = lambda: True) -> T:
    """The first true value of `condition()`; fails at the deadline, or when `running()` is false, naming `what`."""
    deadline = time.monotonic() + DEADLINE
    while True:
        went_on = running()
        value = condition()
        if value:
            return value
        assert went_on, f"ended before {what}"
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE:g} s"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether it is there and no zombie."""
    return _state(process) not in (None, "Z", "X")


def children(process: int) -> list[int]:
    """Of all its threads."""
    found: list[int] = []
    for listing in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listing.read_text().split())
    return found


def descendants(process: int) -> list[int]:
    """Children, their children, ..."""
    found: list[int] = []
    for child in children(process):
        found += [child, *descendants(child)]
    return found


def command_line(process: int) -> bytes:
    """Its arguments, separated by zeros; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def handles(process: int, number: signal.Signals) -> bool:
    """Whether it has installed a handler for a signal."""
    return _has_signal(process, "SigCgt", number)


def has_pending(process: int, number: signal.Signals) -> bool:
    """Whether a signal waits for it, as for a stopped process."""
    return _has_signal(process, "ShdPnd", number)


@contextmanager
def running(args: Sequence[object], **settings: Any) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, which is killed with all its descendants at the end of the block."""
    process = subprocess.Popen([str(part) for part in args], start_new_session=True, **settings)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill([process.pid, *descendants(process.pid)])
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    output: str
    errors: str


def run_ranks(folder: Path, *commands: Sequence[object], store: Any = None, **variables: object) -> list[Ended]:
    """Run a command a rank, in one process group. Outputs go through files in `folder`.

    The store is in this process, as torchrun's is in the launcher's: no port is looked for that others could take.
    """
    if store is None:
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": len(commands), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "OMP_NUM_THREADS": 1,
        "TORCHELASTIC_USE_AGENT_STORE": True, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **variables,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files, processes = [], []
    try:
        for rank, command in enumerate(commands):
            environment = {name: str(value) for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            paths = (folder / f"rank{rank}.out", folder / f"rank{rank}.err")
            files.append(paths)
            with open(paths[0], "w") as output, open(paths[1], "w") as errors:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *map(str, command)], env=os.environ | environment, stdout=output, stderr=errors,
                        start_new_session=True,
                    )
                )  # fmt: skip
        for process in processes:
            process.wait(DEADLINE)
    finally:
        kill([found for p in processes if p.poll() is None for found in (p.pid, *descendants(p.pid))])
        for process in processes:
            process.wait()
    return [Ended(p.returncode, *(path.read_text() for path in paths)) for p, paths in zip(processes, files, strict=True)]


def kill(processes: Sequence[int]) -> None:
    """SIGKILL to those that are still there, stopped ones too."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def no_process_left(grace: float = MINUTE / 4) -> Iterator[None]:
    """Kill at the end whatever the block has started and left, in whatever session and whoever its parent is now, and fail.

    Descendants, and those that inherited a mark in their environment and whose parent is gone.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    before, previous = set(descendants(os.getpid())), os.environ.get(MARK)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        if previous is None:
            os.environ.pop(MARK, None)
        else:
            os.environ[MARK] = previous
        left = _left(mark, before)
        deadline = time.monotonic() + grace  # for those that are about to end
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = _left(mark, before)
        lines = [command_line(process).replace(b"\0", b" ").decode(errors="replace") for process in left]
        while left:  # until none is left: one may have started another meanwhile
            kill(left)
            time.sleep(0.02)
            left = _left(mark, before)
    assert not lines, f"processes outlived their test: {lines}"


def _left(mark: str, before: set[int]) -> list[int]:
    found = [process for process in descendants(os.getpid()) if process not in before]
    with suppress(FileNotFoundError):
        found += [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and _has_mark(folder, mark)]
    servers = {process for process in found if _SERVERS.search(command_line(process)) and _parent(process) == os.getpid()}
    return [process for process in found if process not in servers and process != os.getpid() and is_alive(process)]


def _has_mark(folder: Path, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or of another user
        return False


def _state(process: int) -> str | None:
    return (_stat(process) or [None])[0]


def _parent(process: int) -> int | None:
    fields = _stat(process)
    return int(fields[1]) if fields else None


def _stat(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _has_signal(process: int, field: str, number: signal.Signals) -> bool:
    try:
        found = re.search(rf"^{field}:\s*(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)
