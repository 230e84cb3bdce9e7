"""Every process sends heartbeats through the launcher's store; when one stops, the others name it and end.

A collective cannot tell which rank it waits for. Two threads in every process can. One sends heartbeats with the position of
its main thread and looks for a posted end. The other measures for how long the heartbeats of the others, and its own access to
the store, have not changed. It uses its own clock alone; after a pause of its process (a suspended machine) it measures anew.
"""

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sarigan import distributed
from sarigan.errors import EXIT_CODE, one_line
from sarigan.launcher import within, write_error

FAILURE_CODE = 1
# Places without a time limit: nobody knows how long an evaluation or a compilation takes.
UNLIMITED = ("starting", "hooks", "finished")
# Launchers give processes that they have asked to end about 30 s: then a silent rank is named sooner.
HURRIED_SECONDS = 12.0
STORE_SECONDS = 10.0  # for one request to the store
STOP_SECONDS = 8.0  # for a rank to break an evaluation off by itself, once another has
_instances = itertools.count()


@dataclass
class RankStatus:
    """What this process knows of a rank by its heartbeats: position, and since when neither changed, by this process's clock.

    For a rank that sent none, times count from the start of the watch.
    """

    rank: int
    count: int = 0
    position: int = 0
    where: str = "starting"
    process: int | None = None
    host: str | None = None
    beat_time: float = field(default_factory=time.monotonic)
    move_time: float = field(default_factory=time.monotonic)

    def update(self, count: int, position: int, where: str, process: int, host: str) -> None:
        """Record a heartbeat; one that was recorded before changes nothing."""
        now = time.monotonic()
        if count != self.count:
            self.count, self.beat_time = count, now
        if position != self.position:
            self.position, self.move_time = position, now
        self.where, self.process, self.host = where, process, host

    def restart(self) -> None:
        """Start both measurements anew."""
        self.beat_time = self.move_time = time.monotonic()

    def silent_seconds(self) -> float:
        """Seconds since the last heartbeat."""
        return time.monotonic() - self.beat_time

    def still_seconds(self) -> float:
        """Seconds since its main thread reached another position."""
        return time.monotonic() - self.move_time

    def describe(self, what: str) -> str:
        """`rank 3 (process 12 on host, last seen in phase r1) is gone`."""
        who = f"process {self.process} on {self.host}, " if self.process is not None else ""
        return f"rank {self.rank} ({who}last seen {self.where}) {what}"


def furthest_behind(statuses: Sequence[RankStatus], timeout_seconds: float, unlimited: Collection[str]) -> list[RankStatus]:
    """The ranks with the lowest position, if no rank has moved for the timeout: all others wait for them.

    Empty when a rank has moved, when all have the same position, or when one of the lowest is where time is unlimited.
    """
    if any(status.still_seconds() <= timeout_seconds for status in statuses):
        return []
    least = min(status.position for status in statuses)
    last = [status for status in statuses if status.position == least]
    return last if len(last) < len(statuses) and not any(status.where in unlimited for status in last) else []


class Watchdog:
    """Runs while several processes train. `before_exit` is called once before it ends this process."""

    def __init__(self, timeout_seconds: float, before_exit: Callable[[], None] = lambda: None) -> None:
        self.timeout, self.interval = timeout_seconds, min(2.0, timeout_seconds / 5)
        self.before_exit = before_exit
        self.rank, self.size = distributed.rank(), distributed.world_size()
        self.position, self.where = 0, "starting"
        self._prefix = f"watchdog/{next(_instances)}"
        self._statuses = {rank: RankStatus(rank) for rank in range(self.size)}
        self.hurried = False
        self.signal_descriptor = -1
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._contact = time.monotonic()
        self._threads: list[threading.Thread] = []
        if self.size > 1:
            # A main thread that waits in a collective runs no signal handler: Python writes the signal's number here even then.
            self._signals, self.signal_descriptor = os.pipe()
            os.set_blocking(self._signals, False)
            os.set_blocking(self.signal_descriptor, False)
            self._store = distributed.store_client()
            self._threads = [threading.Thread(target=run, daemon=True) for run in (self._pulse, self._watch)]
            for thread in self._threads:
                thread.start()

    def mark(self, where: str) -> None:
        """Record that the main thread has reached a point that every rank reaches; cheap."""
        self.position += 1
        self.where = where

    def close(self) -> None:
        """End the watch of this process: it has finished."""
        self.mark("finished")
        self._end.set()
        if self._threads:
            self._threads[0].join(self.interval + 1)

    def post(self, line: str, code: int = EXIT_CODE) -> None:
        """End all processes with a line that rank 0 prints; the first post counts. This one returns."""
        if self.size > 1:
            with suppress(RuntimeError, TimeoutError):  # the store is gone: so are the others, or they will say so
                self._post(line, code, missing=[])

    def explain(self, error: Exception) -> str | None:
        """Find out why a collective failed, and end: a posted line, or a rank without heartbeats. None when it is neither."""
        deadline = time.monotonic() + max(self.timeout, 4 * self.interval)
        while time.monotonic() < deadline:
            self._end.wait(self.interval / 4)
            with self._lock:
                silent = [s for s in self._others() if s.silent_seconds() > 4 * self.interval]
            if time.monotonic() - self._contact > 3 * self.interval:
                self._leave(f"{self._out_of_reach()} ({_first_line(error)})", FAILURE_CODE, prints=True)
            elif silent:
                self._finish(f"{silent[0].describe('is gone')} ({_first_line(error)})", FAILURE_CODE, [s.rank for s in silent])
        return None

    def _others(self) -> list[RankStatus]:
        return [s for s in self._statuses.values() if s.rank != self.rank and s.where != "finished"]

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _pulse(self) -> None:
        """Send heartbeats, read those of the others, look for a posted end: the only thread that waits for the store."""
        count = 0
        while True:
            count += 1
            beat = [count, self.position, self.where, os.getpid(), os.uname().nodename]
            try:
                self._store.set(self._key(f"rank{self.rank}"), json.dumps(beat))
                if self._end.is_set():
                    return
                if self._store.check([self._key("end")]):
                    self._obey(json.loads(self._store.get(self._key("end"))))
                for status in self._statuses.values():
                    key = self._key(f"rank{status.rank}")
                    if self._store.check([key]):
                        beat = json.loads(self._store.get(key))
                        with self._lock:
                            status.update(*beat)
                self._contact = time.monotonic()
            except RuntimeError:  # out of reach: `_watch` measures for how long
                if self._end.is_set():
                    return
            self._end.wait(self.interval)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._end.wait(self.interval):
            now = time.monotonic()
            self._look_for_signals()
            with self._lock:
                if now - before > 3 * self.interval + 1:  # this process itself was suspended
                    self._contact = now
                    for status in self._statuses.values():
                        status.restart()
                before = now
                reach = now - self._contact < 3 * self.interval  # without it, heartbeats tell nothing
                patience = min(self.timeout, HURRIED_SECONDS) if self.hurried else self.timeout
                silent = [s for s in self._others() if s.silent_seconds() > patience and reach]
                stuck = furthest_behind(list(self._statuses.values()), self.timeout, UNLIMITED)
            if now - self._contact > self.timeout:
                self._leave(f"{self._out_of_reach()} for {self.timeout:g} s", FAILURE_CODE, prints=True)
            elif silent:
                names = "; ".join(s.describe(f"has not answered for {patience:g} s") for s in silent)
                self._finish(names, FAILURE_CODE, [s.rank for s in silent])
            elif stuck:
                what = f"has come no further for {self.timeout:g} s and all others wait"
                self._finish("; ".join(status.describe(what) for status in stuck), FAILURE_CODE, [])

    def _look_for_signals(self) -> None:
        with suppress(BlockingIOError):
            self.hurried |= not {signal.SIGTERM, signal.SIGINT}.isdisjoint(os.read(self._signals, 4096))

    def _out_of_reach(self) -> str:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        return self._statuses[0].describe(f"is gone or out of reach of rank {self.rank}, with the job's store at {place}")

    def _post(self, line: str, code: int, missing: list[int]) -> dict[str, Any]:
        printer = next(rank for rank in range(self.size) if rank not in missing)
        end = json.dumps({"line": line, "code": code, "printer": printer})
        # The store does not answer while its process is stopped, nor while the other thread waits for it.
        return json.loads(within(STORE_SECONDS, lambda: self._store.compare_set(self._key("end"), "", end)))

    def _finish(self, line: str, code: int, missing: list[int]) -> None:
        """Post an end and obey the one that counts."""
        try:
            self._obey(self._post(line, code, missing))
        except (RuntimeError, TimeoutError):  # the store is gone, with rank 0 or its launcher
            self._leave(line, code, prints=True)

    def _obey(self, end: dict[str, Any]) -> None:
        if end["code"] == 0 and self._end.wait(STOP_SECONDS):
            return  # it was asked to stop as well, and has ended by itself
        self._leave(end["line"], end["code"], prints=end["printer"] == self.rank)

    def _leave(self, line: str, code: int, prints: bool) -> None:
        """End this process from a thread, whatever its main thread waits for."""
        if self.where == "finished":
            return
        if prints:
            text = f"error: {one_line(line)}; the job ends, the same command goes on" if code else line
            write_error(f"\n{text}\n")  # an error of `print` would end this thread instead of the process
        try:
            self.before_exit()
        finally:
            os._exit(code)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
