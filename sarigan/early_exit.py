"""Imported first by a script that trains: until it has something to save, SIGTERM ends it with 0, Ctrl-C with 130.

So does the death of its launcher, as by SIGTERM.
"""

import signal
import sys
from types import FrameType

from sarigan.launcher_watch import watch_launcher


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0 if number == signal.SIGTERM else 130)


def install() -> None:
    """Until `sarigan.training.run` takes signals over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


install()
watch_launcher()
