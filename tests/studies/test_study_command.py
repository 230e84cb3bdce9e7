"""`sarigan study` from the file to the table, with real trainings and evaluations."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from process_tools import ROOT, running, wait_until

from sarigan.commands import study as command

NUM_KILLS = int(os.environ.get("SARIGAN_TEST_KILLS", "1"))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def study(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sarigan study", *map(str, arguments)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command.main()


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        study(monkeypatch, *arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_killed_at_random_moments_the_table_is_the_same(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """SARIGAN_TEST_KILLS=10 kills ten times. The results are to the last bit those of a study that nobody killed."""
    config = str(ROOT / "configs" / "avatars_64_random.yaml")
    path = write_study(seeds=[0], budget={"kimg": 0.4}, variants={"random": {"config": config}})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    study(monkeypatch, "run", path, "--folder", whole, "--jobs", 2)
    study(monkeypatch, "table", path, "--folder", whole)
    moments = random.Random(20)
    arguments = [sys.executable, "-m", "sarigan", "study", "run", path, "--folder", killed, "--jobs", 2]
    for number in range(NUM_KILLS):
        with running(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
            if number == 0:
                saved = lambda: [*killed.glob("*/run/checkpoints/*.pt")]  # noqa: E731
                wait_until(saved, "a checkpoint", lambda: process.poll() is None)
            time.sleep(moments.uniform(0, 1))
            process.send_signal(signal.SIGKILL)
            process.wait()
    study(monkeypatch, "run", path, "--folder", killed, "--jobs", 2)
    study(monkeypatch, "table", path, "--folder", killed)
    assert (killed / f"{path.stem}_table.json").read_bytes() == (whole / f"{path.stem}_table.json").read_bytes()
    assert (killed / f"{path.stem}_table.md").read_bytes() == (whole / f"{path.stem}_table.md").read_bytes()
    table = json.loads((whole / f"{path.stem}_table.json").read_text())
    assert [of["finished"] for of in table["variants"].values()] == [1] and "groups_premise" in table["metrics"]
    study(monkeypatch, "plot", path, "--folder", whole)
    assert (whole / f"{path.stem}.html").is_file() and (whole / f"{path.stem}_figures" / "groups_premise.png").is_file()
    capsys.readouterr()
    study(monkeypatch, "status", path, "--folder", whole)
    assert capsys.readouterr().out.splitlines()[-1] == "1 done"


def test_a_run_whose_data_are_missing_is_named(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    missing = ["data.name=folder", f"data.path={tmp_path / 'nowhere'}"]
    path = write_study(seeds=[0], overrides=missing)
    line = refusal(monkeypatch, capsys, "run", path, "--folder", tmp_path / "out")
    assert "2 of 2 runs failed" in line and "random-seed0" in line and "before training" in line and "nowhere" in line
    study(monkeypatch, "status", path, "--folder", tmp_path / "out")
    assert capsys.readouterr().out.splitlines()[-1] == "2 failed"


def test_bad_input(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def line(*arguments: object) -> str:
        return refusal(monkeypatch, capsys, *arguments)

    path, out = write_study(), ("--folder", tmp_path / "out")
    assert "no such file" in line("status", tmp_path / "nothing.yaml")
    assert "--only: no run or variant 'cats'" in line("run", path, *out, "--only", "cats")
    assert "--jobs must be at least 1, got 0" in line("run", path, *out, "--jobs", 0)
    assert "--only, --jobs and --slurm are options of run, got table" in line("table", path, *out, "--jobs", 2)
    assert "holds no finished run of" in line("plot", path, *out)
    (tmp_path / "file").touch()
    assert "cannot write there" in line("run", path, "--folder", tmp_path / "file")
    for options, expected in (
        (["--colour=1"], "does not take --colour=1"),
        (["--num-images=x"], "--num-images: invalid int"),
        (["--out=elsewhere.json"], "--checkpoint, --metrics and --output are the study's own"),
        (["--metrics=fid"], "--checkpoint, --metrics and --output are the study's own"),
        (["--images=pictures"], "not allowed with argument --checkpoint"),
    ):
        assert expected in line("run", write_study(evaluation=options), *out)
    for options, expected in (
        (["--colour=1"], "semantics: sarigan semantics does not take --colour=1"),
        (["--images=x"], "--images: invalid int"),
        (["--output", "elsewhere"], "MODEL and --output are the study's own"),
        (["runs/another"], "sarigan semantics does not take runs/another"),
    ):
        assert expected in line("run", write_study(semantics=options), *out)
    assert not (tmp_path / "out").exists()


def test_a_slurm_array_instead(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    study(monkeypatch, "run", write_study(), "--folder", tmp_path / "out", "--only", "random", "--slurm", tmp_path / "array.sh")
    assert "2 tasks" in capsys.readouterr().out and "--array=0-1" in (tmp_path / "array.sh").read_text()
    assert not (tmp_path / "out").exists()
