"""`scripts/launch.py`, torchrun with checks: a lost process, a request to stop, wrong input, each by its exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sarigan.checkpoint import list_checkpoints
from sarigan.training.drill_job import drill_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two processes and one restart, for a run of hours in <tmp_path>/run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = tmp_path / "config.yaml"
    config.write_text(drill_config(tmp_path, 100_000, "training.checkpoint_kimg=0.08").to_yaml())
    launcher = [sys.executable, ROOT / "scripts/launch.py", "--standalone", "--nproc_per_node=2", "--max-restarts=1"]
    return [str(part) for part in [*launcher, ROOT / "scripts/train.py", "--config", config, "--run-dir", tmp_path / "run"]]


def ranks_of(process: int) -> list[int]:
    """Training processes of a launcher, once it has checked the input, which it does in a process that it waits for."""
    listings = Path(f"/proc/{process}/task").glob("*/children")
    found = sorted({int(child) for listing in listings for child in listing.read_text().split()})
    command_lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in found}
    others = (b"--processes", b"launch.py")  # the check, and what has not yet become another program
    return [child for child, line in command_lines.items() if b"train.py" in line and not any(o in line for o in others)]


def wait_for(process: subprocess.Popen, checkpoints: Path, later_than: str = "") -> str:
    """The name of the newest checkpoint, once there is one later than that."""
    deadline = time.monotonic() + 180
    while not (names := [path.name for path in list_checkpoints(checkpoints) if path.name > later_than]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return names[-1]


def test_a_lost_process_and_a_request_to_stop(command: list[str], tmp_path: Path) -> None:
    """The restart goes on from the last checkpoint; SIGTERM then saves and ends with 0, nowhere with a traceback."""
    with open(tmp_path / "errors", "w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as job:
        try:
            first = wait_for(job, tmp_path / "run/checkpoints")
            victim = ranks_of(job.pid)[-1]
            subprocess.run(["kill", "-KILL", str(victim)], check=True)
            wait_for(job, tmp_path / "run/checkpoints", later_than=first)
            job.send_signal(signal.SIGTERM)
            output, _ = job.communicate(timeout=60)
        finally:
            job.kill()
    lines = (tmp_path / "errors").read_text().replace("\r", "\n").splitlines()
    assert job.returncode == 0, lines
    assert [line for line in lines if f"process {victim} on" in line and "is gone" in line], lines
    assert [line for line in lines if line.startswith("going on from")] and not [line for line in lines if "Traceback" in line]
    last = list_checkpoints(tmp_path / "run/checkpoints")[-1].name
    assert b"stopped at" in output and int(last[11:19]) > int(first[11:19])


def test_a_request_in_the_first_seconds(command: list[str]) -> None:
    """Before anybody has loaded PyTorch, let alone met the others."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        try:
            while not ranks_of(job.pid) and job.poll() is None:
                time.sleep(0.01)
            time.sleep(0.5)
            job.send_signal(signal.SIGTERM)
            _, errors = job.communicate(timeout=60)
        finally:
            job.kill()
    assert job.returncode == 0 and "Traceback" not in errors, errors


def test_asked_twice_it_ends_at_once(command: list[str], tmp_path: Path) -> None:
    """Also when a process hangs; none is left."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        try:
            wait_for(job, tmp_path / "run/checkpoints")
            ranks = ranks_of(job.pid)
            os.kill(ranks[0], signal.SIGSTOP)
            for _ in range(2):
                job.send_signal(signal.SIGINT)
                time.sleep(1)
            job.communicate(timeout=10)
        finally:
            job.kill()
    assert job.returncode == 130 and len(ranks) == 2
    assert not [rank for rank in ranks if Path(f"/proc/{rank}/cmdline").exists() and Path(f"/proc/{rank}/cmdline").read_bytes()]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.batch_size=9", "error: training.batch_size must be divisible by 2 process(es) x 1 round(s) = 2, got 9"),
        ("data.path=nowhere", "error: nowhere: no such file or folder"),
    ],
)
def test_wrong_input_is_one_line(override: str, line: str, command: list[str]) -> None:
    done = subprocess.run([*command, override], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(line) and done.stderr.count("\n") == 1
