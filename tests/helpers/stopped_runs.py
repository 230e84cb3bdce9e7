"""A training that is asked to end at a step, as a signal asks, and the weights that a run has stored."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.training.trainer import Hook, Trainer


class StopAt(Hook):
    """Asks for an end after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer) -> None:
        trainer.stop_requested |= trainer.state.step == self.step


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Inside, every training is asked to end after `step`."""
    build: Any = Trainer.__init__

    def with_hook(self: Trainer, state: Any, data: Any, hooks: Sequence[Hook], *rest: Any) -> None:
        build(self, state, data, [StopAt(step), *hooks], *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", with_hook)
        yield


def stored_weights(
    run_dir: Path, step: int, networks: Sequence[str] = ("generator", "discriminator", "ema_generator")
) -> dict[str, Tensor]:
    """Weights by `network.name` of a run's last checkpoint, which is that of `step`."""
    state = load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])
    assert state["step"] == step
    return {f"{network}.{name}": value for network in networks for name, value in state[network].items()}


def whole_and_resumed(
    tiny_config: Callable[..., Any], tiny_trainer: Callable[..., Trainer], tiny_state: Callable[..., Any], *settings: str
) -> tuple[Trainer, Trainer]:
    """A training of six steps, and one of three whose state another goes on with: by the fixtures of these names."""
    whole = tiny_trainer(tiny_config(*settings, "training.total_kimg=0.048"))
    whole.run()
    half = tiny_trainer(tiny_config(*settings, "training.total_kimg=0.024"))
    half.run()
    state = tiny_state(tiny_config(*settings, "training.total_kimg=0.048"))
    state.load_state_dict(copy.deepcopy(half.state.state_dict()), "half")
    rest = tiny_trainer(state.config, state=state)
    rest.run()
    return whole, rest
