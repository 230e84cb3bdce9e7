"""What one process knows of another: its last beat, where it was, and for how long it has not moved. By the own clock."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass
class RankStatus:
    """Updated from the beats of a rank; a rank that never beat counts from when the watching began."""

    rank: int
    count: int = 0
    position: int = 0
    where: str = "starting"
    process: int | None = None
    host: str | None = None
    beat_time: float = field(default_factory=time.monotonic)
    move_time: float = field(default_factory=time.monotonic)

    def update(self, count: int, position: int, where: str, process: int, host: str) -> None:
        """Take in a beat; one that was seen before changes nothing."""
        now = time.monotonic()
        if count != self.count:
            self.count, self.beat_time = count, now
        if position != self.position:
            self.position, self.move_time = position, now
        self.where, self.process, self.host = where, process, host

    def restart(self) -> None:
        """Measure from now on."""
        self.beat_time = self.move_time = time.monotonic()

    def silent_seconds(self) -> float:
        """Since the last beat."""
        return time.monotonic() - self.beat_time

    def still_seconds(self) -> float:
        """Since its main thread came a step further."""
        return time.monotonic() - self.move_time

    def describe(self, what: str) -> str:
        """`rank 3 (process 12 on host, last seen in phase r1) is gone`."""
        who = f"process {self.process} on {self.host}, " if self.process is not None else ""
        return f"rank {self.rank} ({who}last seen {self.where}) {what}"


def furthest_behind(statuses: Sequence[RankStatus], timeout_seconds: float, unlimited: Collection[str]) -> list[RankStatus]:
    """The ranks that all others wait for, when none has moved for the timeout; nobody otherwise, or when none is behind."""
    if any(status.still_seconds() <= timeout_seconds for status in statuses):
        return []
    least = min(status.position for status in statuses)
    last = [status for status in statuses if status.position == least]
    return last if len(last) < len(statuses) and not any(status.where in unlimited for status in last) else []
