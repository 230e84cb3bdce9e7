"""A process that torchrun or scripts/launch.py started ends when its launcher is gone.

A launcher that is killed cannot end its processes, which have sessions of their own. Without it nobody restarts them, and
Ctrl-C does not reach them. So each process checks every second that its parent is still there. If not, it sends itself a
SIGTERM, as the launcher would have done: a training saves first.
"""

import ctypes
import os
import signal
import sys
import threading
import time

from sarigan.time_limit import write_error

VARIABLE = "SARIGAN_LAUNCHER"  # scripts/launch.py's process number: it may be gone before its processes can look
POLL_SECONDS = 1.0
END_SECONDS = 300.0  # for an orderly end
_PR_SET_PDEATHSIG = 1
_started = False


def watch_launcher() -> None:
    """Start the check, once. Without a launcher there is none: a training that was started by hand may outlive its shell."""
    global _started
    if _started or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    _started = True
    if sys.platform == "linux":
        # A process that is stopped cannot look: the kernel continues it when its launcher dies.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    parent, launcher = os.getppid(), int(os.environ.get(VARIABLE, "0"))
    orphan = launcher not in (0, parent) and not _exists(launcher)
    threading.Thread(target=_watch, args=(launcher if orphan else parent,), daemon=True).start()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(POLL_SECONDS)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        write_error(f"\nthe launcher, process {launcher}, is gone: stopping\n")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)
