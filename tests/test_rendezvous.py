"""Restarts at one and the same store: every start finds its own processes and none of an earlier one."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sarigan.rendezvous import AbsentError, meet

ROOT = Path(__file__).resolve().parents[1]
# argv: seconds to wait before meeting, what to tell the others
MEMBER = """
import sys, time
from sarigan import distributed
time.sleep(float(sys.argv[1]))
with distributed.exit_on_input_error(), distributed.process_group(timeout_seconds=60):
    print(distributed.gather_objects(sys.argv[2]))
"""


@pytest.fixture
def launcher() -> torch.distributed.TCPStore:
    """The store of a launcher that outlives its processes, as torchrun's does."""
    return torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def start(launcher: torch.distributed.TCPStore, delays: list[float], word: str) -> list[tuple[int, str, str]]:
    processes = []
    for rank, delay in enumerate(delays):
        variables = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": len(delays), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": launcher.port, "TORCHELASTIC_USE_AGENT_STORE": True, "OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT,
        }  # fmt: skip
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        command = [sys.executable, "-c", MEMBER, str(delay), f"{word}{rank}"]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    outputs = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def test_a_restart_does_not_read_what_the_dead_have_left(launcher: torch.distributed.TCPStore) -> None:
    """The second time rank 0, whose old address lies in the store, comes last; the third time first."""
    for word, delays in (("a", [0.0, 0.0]), ("b", [2.0, 0.0]), ("c", [0.0, 2.0])):
        for code, output, errors in start(launcher, delays, word):
            assert code == 0 and output == f"['{word}0', '{word}1']\n", errors


def test_who_does_not_come_is_named(launcher: torch.distributed.TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", launcher.port), ("TORCHELASTIC_USE_AGENT_STORE", True)):
        monkeypatch.setenv(name, str(value))
    left = torch.distributed.PrefixStore("sarigan/starts", launcher)
    left.set("asks/1", "of an earlier start")
    with pytest.raises(AbsentError, match=r"after 0\.2 s rank 1, 2 has not come"):
        meet(0, 3, datetime.timedelta(seconds=0.2))
