"""scripts/train.py as a user meets it: killed and started again, interrupted, and given wrong input."""

import importlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import DEADLINE, running, wait_until

from ops._extension import implementation
from sarigan.config import Config, load_config
from sarigan.files.checkpoint import checkpoint_path, list_checkpoints, load_checkpoint
from sarigan.files.run_record import read_run
from sarigan.runs.run import train

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
Build = Callable[..., Any]


@pytest.fixture
def config_file(tmp_path: Path, tiny_config: Build, png_folder: Path) -> Path:
    """A run of 40 steps with a checkpoint every 8."""
    config: Config = tiny_config(
        "data.name=folder", f"data.path={png_folder}", "training.total_kimg=0.32", "training.checkpoint_kimg=0.064",
        "training.num_checkpoints=100",
    )  # fmt: skip
    path = tmp_path / "tiny.yaml"
    path.write_text(config.to_yaml())
    return path


def command(config_file: Path, run_dir: Path, *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """The command, and settings of `subprocess` for it: this checkout, one thread, the operators of every machine."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SARIGAN_OPS": "reference", "PYTHONPATH": str(SCRIPT.parents[1])}
    line = [sys.executable, str(SCRIPT), "--config", str(config_file), "--run-dir", str(run_dir), *arguments]
    return line, {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def stop_after_new_checkpoint(process: subprocess.Popen, run_dir: Path, number: int) -> None:
    """Wait for a checkpoint that was not there before, then send the signal."""
    folder = run_dir / "checkpoints"
    before = len(list_checkpoints(folder))
    wait_until(lambda: len(list_checkpoints(folder)) > before, "a new checkpoint", running=lambda: process.poll() is None)
    process.send_signal(number)


def test_killed_and_interrupted_runs_go_on_as_if_nothing_had_happened(config_file: Path, tmp_path: Path) -> None:
    """kill -9 after a checkpoint, the same command, Ctrl-C, the same command: the weights of an uninterrupted run."""
    run_dir = tmp_path / "run"
    line, settings = command(config_file, run_dir)
    with running(line, **settings) as process:
        stop_after_new_checkpoint(process, run_dir, signal.SIGKILL)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL
    killed_at = load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])["step"]
    assert 8 <= killed_at < 40

    with running(line, **settings) as process:
        stop_after_new_checkpoint(process, run_dir, signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and f"at {killed_at * 8 / 1000:.1f} kimg" in errors and "stopped at" in output
    interrupted_at = load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])["step"]
    assert killed_at < interrupted_at < 40

    done = subprocess.run(line, **settings, timeout=DEADLINE)
    assert done.returncode == 0 and "finished at 0.3 kimg" in done.stdout, done.stderr
    with implementation("reference"):
        uninterrupted = train(load_config(config_file), tmp_path / "uninterrupted").state.state_dict()
    resumed = load_checkpoint(checkpoint_path(run_dir / "checkpoints", 40))
    assert resumed["platform"] == uninterrupted["platform"]
    for name in ("generator", "discriminator", "ema_generator"):
        for key, value in uninterrupted[name].items():
            assert torch.equal(value, resumed[name][key]), (name, key)
    for name in ("generator_optimizer", "discriminator_optimizer", "grouping_optimizer"):
        for index, state in uninterrupted[name]["state"].items():
            assert all(torch.equal(value, resumed[name]["state"][index][key]) for key, value in state.items())
    assert torch.equal(uninterrupted["mean_path_length"], resumed["mean_path_length"])


def test_a_wrong_key_in_a_process_of_its_own(config_file: Path, tmp_path: Path) -> None:
    """What a shell sees: exit code 2, one line on stderr, nothing on stdout, no run directory."""
    line, settings = command(config_file, tmp_path / "run", "training.batchsize=4")
    done = subprocess.run(line, **settings, timeout=DEADLINE)
    assert done.returncode == 2 and done.stdout == ""
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: argument 'training.batchsize=4'") and "Did you mean: 'batch_size'" in error
    assert not (tmp_path / "run").exists()


# The other inputs go through main() in this process, which takes a hundredth of the time.


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, list[str]]]:
    """main(arguments...) -> exit code, stdout, lines of stderr."""
    module = importlib.import_module("sarigan.commands.train")

    def run(*arguments: Any) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            module.main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_dry_run_prints_and_stops(main: Build, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output, errors = main("--config", config_file, "training.seed=7", "--dry-run", "training.batch_size=4")
    assert (code, errors) == (0, [])
    for part in ("seed: 7", "batch_size: 4", "generator  ", "discriminator  ", "Q head", "8 channels in 3 groups", "24 images"):
        assert part in output, part
    assert "run: 80 steps of 4 images in 1 round(s), float32 on cpu" in output
    assert not (tmp_path / "runs").exists()


def folder_of(tmp_path: Path, *sizes: int) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, size in enumerate(sizes):
        Image.fromarray(np.zeros((size, size, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("generator.grouping.num_groups=9", ["num_groups must be at most the 8 channels of layer 8x8.up, got 9"]),
        ("generator.resolution=12", ["generator.resolution must be a power of two", "12"]),
        ("training.batch_size=four", ["'four'", "training.batch_size"]),
        ("generator.resolution=32", ["16x16", "32"]),  # larger than the images
        ("data.path=nowhere/at/all", ["nowhere/at/all: no such file or folder"]),
        ("training.device=cuda:99", ["training.device"]),
        ("discriminator.channel_base=3", ["discriminator.channel_base must be at least 4", "3"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    main: Build, config_file: Path, tmp_path: Path, override: str, parts: list[str]
) -> None:
    code, output, errors = main("--config", config_file, "--run-dir", tmp_path / "run", override)
    assert (code, output, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith("error: ") and all(part in errors[0] for part in parts), errors
    assert not (tmp_path / "run").exists()


def test_wrong_data_is_one_line(main: Build, config_file: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    arguments = ("--config", config_file, "--run-dir", tmp_path / "run", f"data.path={folder}")
    code, _, (line,) = main(*arguments)
    assert code == 2 and line.startswith(f"error: {folder}: no images found")
    (folder / "0.png").write_bytes(b"\x89PNG but no more")
    code, _, (line,) = main(*arguments)
    assert code == 2 and f"{folder}/0.png: not a readable image" in line
    shutil.rmtree(folder)
    folder_of(tmp_path, 16, 12, 12, 12)
    code, _, lines = main(*arguments, "training.batch_size=4")
    assert code == 2 and "is 12x12, the first image is 16x16; data.crop=center accepts mixed sizes" in lines[-1]


def test_missing_configuration(main: Build, tmp_path: Path) -> None:
    code, _, (line,) = main("--config", tmp_path / "none.yaml")
    assert code == 2 and line == f"error: {tmp_path / 'none.yaml'}: cannot be read (No such file or directory)"


def test_wrong_checkpoints_are_refused_or_passed_over(main: Build, config_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(load_config(config_file, ["training.total_kimg=0.128"]), run_dir)
    paths = list_checkpoints(run_dir / "checkpoints")
    assert len(paths) == 2
    arguments = ("--config", config_file, "--run-dir", run_dir)
    code, _, (line,) = main(*arguments, "generator.style_dim=16")
    assert code == 2 and f"{paths[1]}: checkpoint of another architecture; it differs in generator.style_dim" in line

    # A damaged one is set aside, and the run goes on from the one before.
    contents = [path.read_bytes() for path in paths]
    paths[1].write_bytes(contents[1][:5000])
    code, output, errors = main(*arguments, "training.total_kimg=0.08")
    assert code == 0 and "finished at 0.1 kimg" in output
    aside = paths[1].with_name(paths[1].name + ".damaged")
    assert aside.read_bytes() == contents[1][:5000] and not paths[1].exists()
    # With nothing but damaged ones nothing is touched.
    for path in list_checkpoints(run_dir / "checkpoints"):
        path.write_bytes(path.read_bytes()[:5000])
    before = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    code, _, lines = main(*arguments)
    assert code == 2 and "not a readable checkpoint, truncated or damaged" in lines[-1] and "remove them" in lines[-1]
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.init_from=nowhere"], "nowhere: does not exist"),
        (["metrics.names=[fd_efficientnet]", "metrics.data=nowhere"], "nowhere: no such file or folder"),
        (["data.name=lmdb", "data.path=nowhere"], "nowhere: no such data set; prepare it with"),
    ],
)
def test_a_dry_run_refuses_what_training_would(
    main: Build, config_file: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    arguments = ("--config", config_file, "--run-dir", tmp_path / "run", *overrides)
    code, _, errors = main(*arguments, "--dry-run")
    assert code == 2 and message in errors[-1] and not (tmp_path / "run").exists(), errors
    code, _, errors = main(*arguments)
    assert code == 2 and message in errors[-1], errors


def test_a_dry_run_tries_the_place(main: Build, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    code, output, errors = main("--config", config_file, "--run-dir", tmp_path / "file" / "run", "--dry-run")
    assert code == 2 and output == "" and "cannot write the run directory" in errors[-1]


def test_a_run_says_what_it_takes_and_why_it_ends(
    main: Build, config_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    arguments = ("--config", config_file, "--run-dir", tmp_path / "run")
    code, output, errors = main(*arguments, "training.total_kimg=0.08")
    assert code == 0 and "because:     training.total_kimg=0.08 is reached" in output
    for part in ("machine: cpu (", "operators, 1 process(es)", "memory: ", "disk: 101 checkpoints of", "time: 0.08 kimg"):
        assert part in caplog.text, part
    assert any(re.search(r"D [\d.]+, G [\d.]+", line) for line in errors)
    assert "\r" not in "".join(errors)
    code, output, _ = main(*arguments, "training.max_minutes=0.000001")
    assert "because:     training.max_minutes=1e-06 is reached" in output
    assert [start["end"] for start in read_run(tmp_path / "run").starts] == [
        "training.total_kimg=0.08 is reached", "training.max_minutes=1e-06 is reached",
    ]  # fmt: skip
