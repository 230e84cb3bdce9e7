"""Training from a prepared set: stopping and going on is exact, with worker processes too, and wrong sets are refused."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.config import Config
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.job import Options, prepare
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.runs.run import train

Build = Callable[..., Any]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """37 avatars at 32 px, and the same at 8 px."""
    prepare("avatars", tmp_path / "large", Recipe((32,)), Options(num_workers=1, num_images=37))
    prepare(str(tmp_path / "large"), tmp_path / "small", Recipe((8,)), Options(num_workers=1))
    return tmp_path / "small"


def final(run_dir: Path) -> dict[str, Any]:
    state = load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])
    assert state["step"] == 20
    return {**state["generator"], **{f"d.{k}": v for k, v in state["discriminator"].items()}}


@pytest.mark.parametrize("workers", [0, 2])
def test_ten_and_ten_steps_are_twenty_from_a_prepared_set(
    workers: int, prepared: Path, tmp_path: Path, tiny_config: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """20 steps of 8 images are four epochs of 37 and a bit."""
    caplog.set_level(logging.INFO)
    data = ("data.name=lmdb", f"data.path={prepared}", f"data.num_workers={workers}")
    config: Config = tiny_config(*data)
    train(config, tmp_path / "whole")
    train(tiny_config(*data, "training.total_kimg=0.08"), tmp_path / "parts")
    train(config, tmp_path / "parts")
    whole, parts = final(tmp_path / "whole"), final(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert any(m.startswith(f"data: lmdb: 37 images, 8x8, {prepared}, crop none, lanczos, raw") for m in caplog.messages)


def test_a_long_run_on_a_small_set_is_warned_of(
    prepared: Path, tmp_path: Path, tiny_config: Build, caplog: pytest.LogCaptureFixture
) -> None:
    data = ("data.name=lmdb", f"data.path={prepared}")
    train(tiny_config(*data, "training.total_kimg=0.16"), tmp_path / "short")
    assert not [message for message in caplog.messages if "overfitting" in message]
    train(tiny_config(*data, "training.total_kimg=2", "training.max_minutes=0.0001"), tmp_path / "long")
    assert any(m.startswith("warning: 37 images are few for 2 kimg, which show each 54 times") for m in caplog.messages)


def test_a_missing_or_damaged_set_stops_before_anything_is_written(prepared: Path, tmp_path: Path, tiny_config: Build) -> None:
    with pytest.raises(InputError, match="nowhere: no such data set; prepare it with scripts/prepare_data.py"):
        train(tiny_config("data.name=lmdb", "data.path=nowhere"), tmp_path / "run")
    with pytest.raises(InputError, match="holds 8x8, not 16"):
        train(tiny_config("data.name=lmdb", f"data.path={prepared}", "generator.resolution=16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
