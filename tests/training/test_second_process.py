"""Networks that train against copies of one another: the same result in one process and in two, and what ends a process."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sarigan.errors import InputError
from sarigan.training.second_process import SecondProcess
from sarigan.training.trainer import Hook, Trainer

Build = Callable[..., Any]
SETTINGS = (
    "training.precision=float64", "training.batch_size=8", "training.total_kimg=0.032", "objective.simultaneous_updates=true",
    "objective.r1_interval=2", "objective.path_length_interval=2", "objective.grouping_interval=2",
)  # fmt: skip


class Recorder(Hook):
    """Notes whether a second process was there; kills it before the step `kill_at`."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.seen: list[SecondProcess | None] = []
        self.kill_at = kill_at

    def after_step(self, trainer: Trainer) -> None:
        self.seen.append(trainer.second)
        if trainer.second is not None and trainer.state.step == self.kill_at:
            os.kill(trainer.second.process.pid or 0, signal.SIGKILL)


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


def test_one_process_and_two_make_the_same_steps(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    """Four steps, two of them with R1, path length and grouping."""
    with_two, alone = Recorder(), Recorder()
    first = tiny_trainer(tiny_config(*SETTINGS), hooks=[with_two])
    first.run()
    assert first.second is None and torch.get_num_threads() == 2  # as before
    torch.set_num_threads(1)
    second = tiny_trainer(tiny_config(*SETTINGS), hooks=[alone])
    second.run()
    assert all(with_two.seen) and not any(alone.seen) and len(alone.seen) == 4
    expected, scalars = tensors(second), second.scalars.means()
    for name, value in tensors(first).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-11, atol=1e-11, msg=name)
    assert first.scalars.means() == pytest.approx(scalars)
    assert {"loss/r1", "loss/path_length", "loss/grouping_mse", "information/mse_d"} <= scalars.keys()


def test_a_killed_process_ends_the_run_with_one_line(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    trainer = tiny_trainer(tiny_config(*SETTINGS), hooks=[Recorder(kill_at=2)])
    with pytest.raises(InputError, match=r"the process that computes the discriminator's gradients ended \(exit code -9"):
        trainer.run()
    assert trainer.state.step == 2 and torch.get_num_threads() == 2


def test_an_error_in_the_process_is_raised_here(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    trainer = tiny_trainer(tiny_config(*SETTINGS))
    with trainer.second_process():
        assert trainer.second is not None
        trainer.second.connection.send((99, {"images": torch.zeros(8, 3, 8, 8).double().numpy()}, 0, 0))
        with pytest.raises(IndexError):  # there is no phase 99
            trainer.second.finish()


def one_step(tiny_config: Build, tiny_trainer: Build, *overrides: str) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    trainer = tiny_trainer(tiny_config(*SETTINGS, "training.total_kimg=0.008", *overrides))
    trainer.run()
    return tensors(trainer)


def test_a_network_trains_against_the_others_as_they_were(tiny_config: Build, tiny_trainer: Build, two_threads: None) -> None:
    """G moves as beside a discriminator that stands still, D as in the step where it moves first."""
    found = one_step(tiny_config, tiny_trainer)
    in_turn = one_step(tiny_config, tiny_trainer, "objective.simultaneous_updates=false")
    still = one_step(
        tiny_config, tiny_trainer, "objective.simultaneous_updates=false", "optimizer.discriminator_learning_rate=1e-30"
    )
    names = [name for name in found if name.startswith(".generator.") and "threshold" not in name]
    assert all(torch.allclose(found[name], still[name], rtol=1e-11, atol=1e-11) for name in names)
    assert not all(torch.allclose(found[name], in_turn[name], rtol=1e-6, atol=1e-9) for name in names)
    for name in (name for name in found if name.startswith(".discriminator.")):
        torch.testing.assert_close(found[name], in_turn[name], rtol=1e-11, atol=1e-11, msg=name)
