"""Imported first by a script that trains: until it has something to save, SIGTERM ends it with 0, Ctrl-C with 130.

So does the death of its launcher, as by SIGTERM.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

from sarigan.launcher_watch import watch_launcher

INSIST_SECONDS = 5.0


def _leave(number: int, frame: FrameType | None) -> None:
    code = 0 if number == signal.SIGTERM else 130
    threading.Thread(target=_insist, args=(code,), daemon=True).start()
    sys.exit(code)


def _insist(code: int) -> None:
    """An import that happens to be under way may catch the SystemExit, as some optional ones do."""
    time.sleep(INSIST_SECONDS)
    os._exit(code)


def install() -> None:
    """Until `sarigan.runs.run` takes signals over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


install()
watch_launcher()
