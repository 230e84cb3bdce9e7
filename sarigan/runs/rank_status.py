"""What one process knows of another: its last heartbeat, its position, and for how long neither has changed.

Times are measured by the clock of the process that watches.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass
class RankStatus:
    """Updated from the heartbeats of a rank. For a rank that sent none, times count from the start of the watch."""

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
