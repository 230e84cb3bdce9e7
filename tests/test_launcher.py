"""Restarts at one and the same store: every start finds its own processes and none of an earlier one."""

import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from process_tools import DEADLINE, is_alive, run_ranks, running, wait_until

from sarigan import launcher as launcher_module
from sarigan.launcher import AbsentError, meet

# argv: seconds to wait before meeting, what to tell the others
MEMBER = """
import sys, time
from sarigan import distributed
time.sleep(float(sys.argv[1]))
with distributed.rank_main(), distributed.process_group(timeout_seconds=60):
    print(distributed.gather_objects(sys.argv[2]))
"""


@pytest.fixture
def launcher() -> torch.distributed.TCPStore:
    """The store of a launcher that outlives its processes, as torchrun's does."""
    return torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def test_a_restart_does_not_read_what_the_dead_have_left(launcher: torch.distributed.TCPStore, tmp_path: Path) -> None:
    """The second time rank 0, whose old address lies in the store, comes last; the third time first."""
    for word, delays in (("a", [0.0, 0.0]), ("b", [2.0, 0.0]), ("c", [0.0, 2.0])):
        commands = [["-c", MEMBER, delay, f"{word}{rank}"] for rank, delay in enumerate(delays)]
        for code, output, errors in run_ranks(tmp_path / word, *commands, store=launcher):
            assert code == 0 and output == f"['{word}0', '{word}1']\n", errors


def test_who_does_not_come_is_named(launcher: torch.distributed.TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", launcher.port), ("TORCHELASTIC_USE_AGENT_STORE", True)):
        monkeypatch.setenv(name, str(value))
    left = torch.distributed.PrefixStore("sarigan/starts", launcher)
    left.set("asks/1", "of an earlier start")
    with pytest.raises(AbsentError, match=r"after 0\.2 s rank 1, 2 has not come"):
        meet(0, 3, datetime.timedelta(seconds=0.2))


STORE = """
import time, torch
store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
print(store.port, flush=True)
time.sleep(3600)
"""


def test_a_store_that_stands_still_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is stopped after the first answer."""
    monkeypatch.setattr(launcher_module, "STORE_SECONDS", 1.0)
    with running([sys.executable, "-c", STORE], stdout=-1, text=True) as host:
        assert host.stdout is not None
        port = int(host.stdout.readline())
        for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port), ("TORCHELASTIC_USE_AGENT_STORE", True)):
            monkeypatch.setenv(name, str(value))

        def stop(*arguments: object) -> None:
            os.kill(host.pid, signal.SIGSTOP)
            answer(*arguments)

        answer = launcher_module._answer
        monkeypatch.setattr(launcher_module, "_answer", stop)
        with pytest.raises(AbsentError, match="no answer for 2 s from the store"):
            meet(0, 2, datetime.timedelta(seconds=1))


LED = "import time; from sarigan.runs import early_exit; print(flush=True); time.sleep(3600)"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_launcher_that_nobody_has_waited_for_yet_is_gone() -> None:
    """Killed before its process looks, and still in the table of processes: the process would have waited for ever."""
    with running([sys.executable, "-c", "import time; time.sleep(3600)"]) as ended:
        ended.kill()
        wait_until(lambda: not is_alive(ended.pid), "its end")  # not `wait`, which takes it from the table
        assert Path(f"/proc/{ended.pid}").exists()
        variables = {**os.environ, launcher_module.VARIABLE: str(ended.pid)}
        assert subprocess.run([sys.executable, "-c", LED], env=variables, timeout=DEADLINE).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_launcher_that_is_not_the_parent_is_watched() -> None:
    """Its end is noticed though the parent is still there."""
    with running([sys.executable, "-c", "import time; time.sleep(3600)"]) as runner:
        variables = {**os.environ, launcher_module.VARIABLE: str(runner.pid)}
        with running([sys.executable, "-c", LED], env=variables, stdout=-1) as led:
            led.stdout.readline()
            time.sleep(1.5 * launcher_module.WATCH_SECONDS)
            assert led.poll() is None
            runner.kill()
            assert led.wait(DEADLINE) == 0
