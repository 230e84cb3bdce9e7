"""`scripts/launch.py`, torchrun with checks: a lost process, a request to stop, wrong input, each by its exit code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from process_tools import DEADLINE, ROOT, children, command_line, handles, has_pending, is_alive, running, wait_until

from sarigan.diagnosis.drill_job import drill_config
from sarigan.files.checkpoint import list_checkpoints


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
    others = (b"--processes", b"launch.py")  # the check, and what has not yet become another program
    lines = {child: command_line(child) for child in children(process)}
    return sorted(child for child, line in lines.items() if b"train.py" in line and not any(o in line for o in others))


def wait_for(process: subprocess.Popen, checkpoints: Path, later_than: str = "") -> str:
    """The name of the newest checkpoint, once there is one later than that."""

    def later() -> list[str]:
        return [path.name for path in list_checkpoints(checkpoints) if path.name > later_than]

    return wait_until(later, "a checkpoint", running=lambda: process.poll() is None)[-1]


def test_a_lost_process_and_a_request_to_stop(command: list[str], tmp_path: Path) -> None:
    """The restart goes on from the last checkpoint; SIGTERM then saves and ends with 0, nowhere with a traceback."""
    with open(tmp_path / "errors", "w") as errors, running(command, stdout=subprocess.PIPE, stderr=errors) as job:
        first = wait_for(job, tmp_path / "run/checkpoints")
        victim = ranks_of(job.pid)[-1]
        os.kill(victim, signal.SIGKILL)
        wait_for(job, tmp_path / "run/checkpoints", later_than=first)
        job.send_signal(signal.SIGTERM)
        output, _ = job.communicate(timeout=DEADLINE)
    lines = (tmp_path / "errors").read_text().replace("\r", "\n").splitlines()
    assert job.returncode == 0, lines
    assert [line for line in lines if f"process {victim} on" in line and "is gone" in line], lines
    assert [line for line in lines if line.startswith("going on from")] and not [line for line in lines if "Traceback" in line]
    last = list_checkpoints(tmp_path / "run/checkpoints")[-1].name
    assert b"stopped at" in output and int(last[11:19]) > int(first[11:19])


def test_a_request_in_the_first_seconds(command: list[str]) -> None:
    """Before anybody has loaded PyTorch, let alone met the others."""

    def listening() -> bool:
        ranks = ranks_of(job.pid)
        return len(ranks) == 2 and all(handles(rank, signal.SIGTERM) for rank in ranks)

    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        wait_until(listening, "two processes that handle SIGTERM", running=lambda: job.poll() is None)
        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate(timeout=DEADLINE)
    assert job.returncode == 0 and "Traceback" not in errors, errors


def test_asked_twice_it_ends_at_once(command: list[str], tmp_path: Path) -> None:
    """Also when a process hangs, which would keep the others for an hour; none is left."""
    command = [*command, "training.rank_timeout_seconds=3600"]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        wait_for(job, tmp_path / "run/checkpoints")
        ranks = ranks_of(job.pid)
        os.kill(ranks[0], signal.SIGSTOP)
        job.send_signal(signal.SIGINT)
        # Two of the same signal are one while the first is not yet looked at.
        wait_until(lambda: has_pending(ranks[0], signal.SIGTERM), "the request at the stopped process")
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=DEADLINE)
    assert job.returncode == 130 and len(ranks) == 2
    wait_until(lambda: not any(map(is_alive, ranks)), "the end of both")


@pytest.mark.parametrize(("stopped", "reader"), [(None, "there"), ("0", "there"), ("1", "gone")])
def test_a_killed_launcher_leaves_no_process(stopped: str | None, reader: str, command: list[str], tmp_path: Path) -> None:
    """Also one that was stopped, and when nobody reads stderr any more; all save what they have."""
    command = [*command, "training.rank_timeout_seconds=3600", "training.checkpoint_kimg=100"]
    log = tmp_path / "run/log.jsonl"
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        wait_until(lambda: log.exists() and log.read_text(), "a logged step", running=lambda: job.poll() is None)
        ranks = {rank_number(rank): rank for rank in ranks_of(job.pid)}
        assert sorted(ranks) == ["0", "1"]
        if stopped is not None:
            os.kill(ranks[stopped], signal.SIGSTOP)
        if reader == "gone":
            job.stdout.close()
            job.stderr.close()
        job.kill()
        job.wait()
        wait_until(lambda: not any(map(is_alive, ranks.values())), "the end of both")
    assert list_checkpoints(tmp_path / "run/checkpoints")


def test_a_launcher_killed_before_the_processes_have_met(command: list[str], tmp_path: Path) -> None:
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        ranks = wait_until(lambda: ranks_of(job.pid), "a process", running=lambda: job.poll() is None)
        job.kill()
        job.wait()
        wait_until(lambda: not any(map(is_alive, ranks)), "its end")


def rank_number(process: int) -> str:
    variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next(v.removeprefix(b"RANK=").decode() for v in variables if v.startswith(b"RANK="))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.batch_size=9", "error: training.batch_size must be divisible by 2 process(es) x 1 round(s) = 2, got 9"),
        ("data.path=nowhere", "error: nowhere: no such file or folder"),
    ],
)
def test_wrong_input_is_one_line(override: str, line: str, command: list[str]) -> None:
    done = subprocess.run([*command, override], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 2 and done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_without_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the package is installed: `sarigan launch ... -m sarigan train`, in any folder."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = tmp_path / "config.yaml"
    config.write_text(drill_config(tmp_path, 4).to_yaml())
    launcher = [sys.executable, "-m", "sarigan", "launch", "--standalone", "--nproc_per_node=2", "-m", "sarigan", "train"]
    command = [*launcher, "--config", str(config), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0 and "finished at" in done.stdout, done.stderr
    wrong = subprocess.run([*command, "data.path=nowhere"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert (wrong.returncode, wrong.stderr) == (2, "error: nowhere: no such file or folder\n")
