"""Accumulation rounds, ranks and shards: how the batch is cut changes memory, not the result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

Build = Callable[..., Any]


def trained(tiny_config: Build, tiny_trainer: Build, rounds: int, *overrides: str) -> dict[str, torch.Tensor]:
    config = tiny_config(
        "training.precision=float64", "training.batch_size=16", "training.total_kimg=0.096",
        f"training.accumulation_rounds={rounds}", *overrides,
    )  # fmt: skip
    trainer = tiny_trainer(config)
    trainer.run()
    assert trainer.state.step == 6
    scalars = trainer.scalars.means()
    assert {"loss/r1", "loss/path_length", "loss/grouping_mse", "information/mse_d", "information/mse_g"} <= scalars.keys()
    state = {f"g.{name}": value for name, value in trainer.system.generator.state_dict().items()}
    state |= {f"d.{name}": value for name, value in trainer.system.discriminator.state_dict().items()}
    state |= {f"ema.{name}": value for name, value in trainer.system.average.module.state_dict().items()}
    state["mean_path_length"] = trainer.system.objective.mean_path_length
    return state


@pytest.mark.parametrize("overrides", [(), ("objective.mixing_kind=halves", "objective.information_target=codes")])
def test_two_and_four_rounds_equal_one(tiny_config: Build, tiny_trainer: Build, overrides: tuple[str, ...]) -> None:
    """Six steps with every phase, float64. Shards of 16/2 and 16/4 samples are multiples of the minibatch-stddev group."""
    expected = trained(tiny_config, tiny_trainer, 1, *overrides)
    for rounds in (2, 4):
        found = trained(tiny_config, tiny_trainer, rounds, *overrides)
        for name, value in expected.items():
            assert value.dtype == torch.float64
            assert (found[name] - value).abs().max() <= 1e-9 * value.abs().max().clamp_min(1), (rounds, name)


def test_the_comparison_would_see_unstrided_groups(tiny_config: Build, tiny_trainer: Build) -> None:
    """Shards that do not hold whole minibatch-stddev groups do change the result, so the test above is sharp."""
    group = "discriminator.minibatch_stddev_group=16"
    one, two = (trained(tiny_config, tiny_trainer, rounds, group) for rounds in (1, 2))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) > 1e-6
