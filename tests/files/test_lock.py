"""One job per run directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from process_tools import is_alive, running, wait_until

from sarigan.errors import InputError
from sarigan.files.lock import LOCK_NAME, require_unlocked, run_lock

HOLDER = """
import sys, time, os
from pathlib import Path
from sarigan.files.lock import run_lock
with run_lock(Path(sys.argv[1])):
    child = os.fork()  # as a data worker is
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    print(child, flush=True)
    time.sleep(3600)
"""


def test_a_second_job_is_refused_by_name_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """Even while a worker of the killed one is still alive."""
    with running([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            match = rf"in use by another job \(process {holder.pid} on "
            with pytest.raises(InputError, match=match) as caught, run_lock(tmp_path):
                raise AssertionError("two jobs in one directory")
            assert "\n" not in str(caught.value)
            with pytest.raises(InputError, match=match):
                require_unlocked(tmp_path)
            assert str(holder.pid) in (tmp_path / LOCK_NAME).read_text()
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            require_unlocked(tmp_path)
            require_unlocked(tmp_path / "elsewhere")
            assert str(holder.pid) in (tmp_path / LOCK_NAME).read_text()  # it writes nothing
            with run_lock(tmp_path):
                assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
        finally:
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: not is_alive(child), "the end of the worker")
