"""What a test leaves behind is found and killed, and what it draws depends on its name."""

import os
import random
import signal
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from process_tools import children, command_line, is_alive, no_process_left, wait_until

LEAVE = """
import os, signal, subprocess, sys
program = [sys.executable, "-c", "import time; time.sleep(3600)"]
left = subprocess.Popen(program, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.kill(left.pid, signal.SIGSTOP)
print(left.pid, flush=True)
"""


def test_a_stopped_orphan_in_a_session_of_its_own_is_found_and_killed() -> None:
    with pytest.raises(AssertionError, match=r"processes outlived their test: .*sleep\(3600\)"), no_process_left(grace=0):
        orphan = int(subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, check=True).stdout)
        assert is_alive(orphan) and orphan not in children(os.getpid())
    assert not is_alive(orphan)


def test_a_child_without_the_mark_is_found_too() -> None:
    with pytest.raises(AssertionError, match="outlived"), no_process_left(grace=0):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], env={})
        wait_until(lambda: b"sleep" in command_line(child.pid), "the program")
    assert child.wait() == -signal.SIGKILL


def test_global_generators_start_from_the_name_of_the_test(request: pytest.FixtureRequest) -> None:
    seed = zlib.crc32(f"{request.node.nodeid}{os.environ.get('SARIGAN_TEST_SEED', '')}".encode())
    assert random.random() == random.Random(seed).random()
    assert np.random.random() == np.random.RandomState(seed).random()  # noqa: NPY002
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(seed)))
