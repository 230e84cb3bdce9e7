"""Counts of a step against known numbers and a real step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import flop_registry

from ops._extension import implementation
from sarigan.config import load_config
from sarigan.data.batch import Batch
from sarigan.diagnosis.scaling import FlopCount, checkpoint_size, count_step
from sarigan.runs.summary import process_arithmetic
from sarigan.systems.system import Shard

Build = Callable[..., Any]


def test_flops_of_a_product() -> None:
    assert torch.ops.aten.mm in flop_registry
    with FlopCount() as count:
        torch.ones(3, 5) @ torch.ones(5, 7)
    assert count.total == 2 * 3 * 5 * 7


@pytest.mark.parametrize("inference", [False, True])
def test_flops_of_a_convolution(inference: bool) -> None:
    """Two for each product of a weight and a pixel; inference mode hands the convolution over undivided."""
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3)
    with torch.inference_mode(inference), FlopCount() as count:
        y = torch.nn.functional.conv2d(x, weight, padding=1)
    assert count.total == 2 * 2 * 5 * 3 * 3 * 3 * 8 * 8
    torch.testing.assert_close(y, torch.nn.functional.conv2d(x, weight, padding=1))


def test_a_step_without_contents_counts_what_a_real_one_does(tiny_config: Build, tiny_trainer: Build) -> None:
    config = tiny_config("objective.mixing_probability=0", "training.batch_size=4")
    counted = count_step(config, images=4)
    trainer = tiny_trainer(config)
    state = trainer.state
    assert counted.parameters["generator"] == sum(p.numel() for p in state.system.generator.parameters())
    assert counted.parameters["discriminator"] == sum(p.numel() for p in state.system.discriminator.parameters())
    real = torch.zeros(4, 3, 8, 8)
    for phase in trainer.phases[:4]:
        draws = None if phase.draw is None else phase.draw(phase.name, 0, 4, 0)
        with implementation("reference"), FlopCount() as count:
            trainer.gradients.accumulate(phase, [Shard(Batch(real), draws)])
        assert counted.phases[phase.name].flops == count.total / 4, phase.name
    tensors = [*state.state_dict()["generator"].values(), *state.state_dict()["ema_generator"].values()]
    assert sum(t.numel() * 4 for t in tensors) < checkpoint_size(config)


def test_traffic_and_memory_arithmetic(tiny_config: Build, tiny_state: Build) -> None:
    count = count_step(tiny_config())
    state = tiny_state(tiny_config())
    assert count.separate_parameters["generator"] == sum(p.numel() for p in state.system.grouping_parameters) > 0
    draws = state.system.randomness.draw("generator", 0, 6)
    held = draws.z.untyped_storage().nbytes() + sum(noise.untyped_storage().nbytes() for noise in draws.noise)
    assert count.draw_bytes == held / 6
    g, d = count.parameters["generator"] - count.separate_parameters["generator"], count.parameters["discriminator"]
    assert count.reduced_bytes == pytest.approx(4 * (d + d / 3 + g + g / 2))
    assert count.sent_bytes(1) == 0 and count.sent_bytes(4) == pytest.approx(1.5 * count.reduced_bytes)
    assert count.fixed_bytes(2) - count.fixed_bytes(1) == 4 * (g + d)


@pytest.mark.parametrize("name", ["lsun_cat_256_sarigan", "lsun_car_512_sarigan", "ffhq_1024_sarigan"])
def test_the_papers_configurations_fit_eight_processes(name: str, project_root: Any) -> None:
    lines = process_arithmetic(load_config(project_root / "configs" / f"{name}.yaml"), 8)
    assert lines == ["on 8 processes: 32 images a step = 8 process(es) x 1 round(s) x 4 images"]
