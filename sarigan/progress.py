"""Progress bars, redrawn in place on a terminal, and a line now and then where the output goes to a file; durations as text."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0  # between two lines of a bar that is not on a terminal


def duration_text(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.{int(seconds < 600)}f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


class _Bar(tqdm):
    """tqdm's, whose lock is free again after a drawing that failed: all bars of a process share it, and all threads."""

    disable: bool

    def refresh(self, nolock: bool = False, lock_args: tuple | None = None) -> bool | None:
        """Draw the bar anew."""
        with self.get_lock():  # reentrant
            return super().refresh(nolock=True)

    def clear(self, nolock: bool = False) -> None:
        """Remove what is drawn."""
        with self.get_lock():
            super().clear(nolock=True)


class _Lines(_Bar):
    """A bar of which every drawing is a line of its own."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """A function that writes a line."""

        def write(text: str) -> None:
            if text.strip():
                file.write(f"{text.rstrip()}\n")
                file.flush()

        return write

    def moveto(self, n: int) -> None:
        """Lines stand below one another."""

    def clear(self, nolock: bool = False) -> None:
        """A line that is written stays."""

    def close(self) -> None:
        """Write the last line, unless it is there or the bar is one that goes when it is full."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)
        if self.leave is not False and self.last_print_n != self.n:
            self.sp(str(self))


def progress_bar(*arguments: Any, **options: Any) -> "tqdm[Any]":
    """`tqdm` on stderr. Where that is no terminal: at the start, every LINE_SECONDS and at the end a line."""
    file: Any = options.setdefault("file", sys.stderr)
    if options.get("disable") or file.isatty():
        return _Bar(*arguments, **options)
    options |= {"mininterval": LINE_SECONDS, "maxinterval": LINE_SECONDS, "dynamic_ncols": False, "ncols": 100}
    return _Lines(*arguments, **options)
