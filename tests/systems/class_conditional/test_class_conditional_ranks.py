"""Several processes (gloo) against one: batch statistics are of all ranks, so the same batch gives the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_tools import ROOT, run_ranks
from torch import Tensor

from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.runs.run import train

Build = Callable[..., Any]
JOBS = ROOT / "tests" / "training" / "process_group_jobs.py"
FLOAT64 = ("training.precision=float64", "data.labels=folders")
STEPS, STOP = "training.total_kimg=0.04", "training.total_kimg=0.024"  # 5 and 3 steps


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, config: Build) -> Path:
    """The run directories of two ranks."""
    folder = tmp_path_factory.mktemp("ranks")

    def job(name: str, *configs: Any) -> dict[str, Any]:
        files = [folder / f"{name}-{index}.yaml" for index in range(len(configs))]
        for file, one in zip(files, configs, strict=True):
            file.write_text(one.to_yaml())
        return {"run_dir": str(folder / name), "configs": [str(file) for file in files], "unlike_gradients": False}

    jobs = [
        job("whole", config(*FLOAT64, STEPS)),
        job("stopped", config(*FLOAT64, STOP), config(*FLOAT64, STEPS)),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    for ended in run_ranks(folder / "logs", *[[JOBS, folder / "jobs.json"]] * 2):
        assert ended.code == 0, ended.errors
    return folder


def state_of(run_dir: Path) -> dict[str, Tensor]:
    state = load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])
    assert state["step"] == 5
    return {f"{part}.{k}": v for part in ("generator", "discriminator", "ema_generator") for k, v in state[part].items()}


def test_two_processes_equal_one(ran: Path, config: Build, tmp_path: Path) -> None:
    """Weights, singular vectors, running and standing statistics after five steps, float64."""
    train(config(*FLOAT64, STEPS), tmp_path / "one")
    found, expected = state_of(ran / "whole"), state_of(tmp_path / "one")
    assert found.keys() == expected.keys() and any(name.endswith("running_var") for name in found)
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= 1e-8 * value.abs().max().clamp_min(1), name


def test_a_resumed_run_of_two_processes_is_bit_identical(ran: Path) -> None:
    whole, stopped = state_of(ran / "whole"), state_of(ran / "stopped")
    assert [name for name, value in whole.items() if not bool((value == stopped[name]).all())] == []
