"""Imported first by a command that trains: until there is something to save, SIGTERM ends it with 0, Ctrl-C with 130.

The end of its launcher counts as a SIGTERM.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

from sarigan.launcher import watch_launcher

INSIST_SECONDS = 5.0


def _leave(number: int, frame: FrameType | None) -> None:
    code = 0 if number == signal.SIGTERM else 130
    threading.Thread(target=_insist, args=(code,), daemon=True).start()
    sys.exit(code)


def _insist(code: int) -> None:
    """End the process even if an import that is under way catches the SystemExit, as some optional imports do."""
    time.sleep(INSIST_SECONDS)
    os._exit(code)


def install() -> None:
    """Handle signals until `sarigan.runs.run` installs its own handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def uninstall() -> None:
    """Back to Python's handlers, for a command that trains nothing after all."""
    for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is _leave:
            signal.signal(number, handler)


install()
watch_launcher()
