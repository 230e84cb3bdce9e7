"""Processes that share a batch on a CPU: the same result as one process, and what ends a run when one of them ends."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.errors import InputError
from sarigan.runs.run import train
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cpu_processes import CpuProcesses, count_processes
from sarigan.training.trainer import Hook, Trainer

Build = Callable[..., Any]
SETTINGS = (
    "training.precision=float64", "training.batch_size=8", "training.total_kimg=0.032", "training.cpu_processes=2",
    "objective.r1_interval=2", "objective.path_length_interval=2", "objective.grouping_interval=2",
)  # fmt: skip
# p grows in every step.
AUGMENTED = (
    "training.augmentation.name=ada", "training.augmentation.transforms=[bgcfnc]", "training.augmentation.interval=1",
    "training.augmentation.target=-0.9", "training.augmentation.speed_kimg=0.1",
)  # fmt: skip


class Recorder(Hook):
    """Notes whether there were other processes; kills one before the step `kill_at`."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.seen: list[CpuProcesses | None] = []
        self.kill_at = kill_at

    def after_step(self, trainer: Trainer) -> None:
        self.seen.append(trainer.processes)
        if trainer.processes is not None and trainer.state.step == self.kill_at:
            os.kill(trainer.processes.workers[0][0].pid or 0, signal.SIGKILL)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All that a checkpoint keeps."""
    found: dict[str, torch.Tensor] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}", item)

    walk("", trainer.system.state_dict())
    return found


@pytest.mark.parametrize("augmented", [(), AUGMENTED], ids=["plain", "augmented"])
def test_one_process_and_two_make_the_same_steps(
    augmented: tuple[str, ...], tiny_config: Build, tiny_trainer: Build, two_threads: None
) -> None:
    """Four steps, two of them with R1, path length and grouping."""
    with_two, alone = Recorder(), Recorder()
    first = tiny_trainer(tiny_config(*SETTINGS, *augmented), hooks=[with_two])
    first.run()
    assert first.processes is None and torch.get_num_threads() == 2  # as before
    torch.set_num_threads(1)
    second = tiny_trainer(tiny_config(*SETTINGS, *augmented, "training.cpu_processes=1"), hooks=[alone])
    second.run()
    assert all(with_two.seen) and not any(alone.seen) and len(alone.seen) == 4
    expected, scalars = tensors(second), second.scalars.means()
    for name, value in tensors(first).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")
    p = second.state.augmentation.state
    torch.testing.assert_close(first.state.augmentation.state, p)
    assert (0 < p[0] < 1) == (augmented == AUGMENTED)
    means = first.scalars.means()
    for name in scalars.keys() - {"information/variance_d", "information/variance_g"}:  # variances within a share
        assert means[name] == pytest.approx(scalars[name]), name
    assert {"loss/r1", "loss/path_length", "loss/grouping_mse", "information/mse_d"} <= scalars.keys()


def test_a_killed_process_ends_the_run_with_one_line(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    trainer = tiny_trainer(tiny_config(*SETTINGS), hooks=[Recorder(kill_at=2)])
    with pytest.raises(InputError, match=r"process 1 of 2 on this CPU ended \(exit code -9"):
        trainer.run()
    assert trainer.state.step == 2 and torch.get_num_threads() == 2


def test_an_error_in_the_process_is_raised_here(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    trainer = tiny_trainer(tiny_config(*SETTINGS))
    with trainer.cpu_processes():
        assert trainer.processes is not None
        trainer.processes.workers[0][1].send((99, None, 0, 0))
        with pytest.raises(IndexError):  # there is no phase 99
            trainer.processes.finish(trainer.phases[0], trainer.scalars)


@pytest.mark.parametrize(
    ("wanted", "batch_size", "rounds", "group", "number"),
    [(1, 8, 1, 4, 1), (2, 8, 1, 4, 2), (8, 32, 1, 4, 8), (3, 8, 1, 4, 2), (0, 8, 1, 4, 2), (4, 8, 1, 4, 2), (2, 8, 2, 4, 1),
     (2, 6, 1, 3, 2), (2, 7, 1, 1, 1)],
)  # fmt: skip
def test_as_many_processes_as_shares_keep_their_statistics(
    wanted: int, batch_size: int, rounds: int, group: int, number: int, tiny_config: Build, two_threads: None
) -> None:
    """A share is a multiple of the minibatch-stddev group; 0 asks for one process a thread, of which there are two."""
    config = tiny_config(
        f"training.cpu_processes={wanted}", f"training.batch_size={batch_size}", f"training.accumulation_rounds={rounds}",
        f"discriminator.minibatch_stddev_group={group}",
    )  # fmt: skip
    assert count_processes(config, torch.device("cpu"), plan_batch(config.training, 1)) == number
    assert count_processes(config, torch.device("cuda"), plan_batch(config.training, 1)) == 1


def test_a_run_of_two_processes_goes_on_bit_identically(
    tmp_path: Path, png_folder: Path, tiny_config: Build, two_threads: None, caplog: pytest.LogCaptureFixture
) -> None:
    """2 + 2 steps equal 4, and nothing is said to differ."""
    options = (
        "generator.resolution=16", "data.name=folder", f"data.path={png_folder}", "data.num_workers=0",
        "training.precision=float32", "training.batch_size=8", "training.cpu_processes=2",
    )  # fmt: skip
    whole = train(tiny_config(*options, "training.total_kimg=0.032"), tmp_path / "whole")
    train(tiny_config(*options, "training.total_kimg=0.016"), tmp_path / "halves")
    with caplog.at_level(logging.INFO):
        halves = train(tiny_config(*options, "training.total_kimg=0.032"), tmp_path / "halves")
    assert "going on from" in caplog.text and "not bit-identically" not in caplog.text
    expected, found = tensors(whole), tensors(halves)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
