"""Counts of a step against known numbers and a real step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import flop_registry

from ops._extension import implementation
from sarigan.config import load_config
from sarigan.diagnosis.scaling import FlopCount, checkpoint_size, count_step
from sarigan.runs.summary import process_arithmetic
from sarigan.training.phase import Shard
from sarigan.training.randomness import Randomness

Build = Callable[..., Any]


def test_flops_of_a_product() -> None:
    assert torch.ops.aten.mm in flop_registry
    with FlopCount() as count:
        torch.ones(3, 5) @ torch.ones(5, 7)
    assert count.total == 2 * 3 * 5 * 7


def test_a_step_without_contents_counts_what_a_real_one_does(tiny_config: Build, tiny_trainer: Build) -> None:
    config = tiny_config("objective.mixing_probability=0", "training.batch_size=4")
    counted = count_step(config, images=4)
    trainer = tiny_trainer(config)
    state = trainer.state
    assert counted.generator_parameters == sum(p.numel() for p in state.generator.parameters())
    assert counted.discriminator_parameters == sum(p.numel() for p in state.discriminator.parameters())
    real = torch.zeros(4, 3, 8, 8)
    for phase in trainer.phases[:4]:
        draws = trainer.randomness.draw(phase.name, 0, 4, phase.needs_image_noise)
        with implementation("reference"), FlopCount() as count:
            trainer.accumulate_gradients(phase, [Shard(real, draws)])
        assert counted.flops[phase.name] == count.total / 4, phase.name
    tensors = [*state.state_dict()["generator"].values(), *state.state_dict()["ema_generator"].values()]
    assert sum(t.numel() * 4 for t in tensors) < checkpoint_size(config)


def test_traffic_and_memory_arithmetic(tiny_config: Build, tiny_state: Build) -> None:
    count = count_step(tiny_config())
    state = tiny_state(tiny_config())
    assert count.grouping_parameters == sum(p.numel() for p in state.grouping_parameters) > 0
    draws = Randomness(0, state.generator, state.config.objective, torch.device("cpu"), torch.float32).draw("generator", 0, 6)
    held = draws.z.untyped_storage().nbytes() + sum(noise.untyped_storage().nbytes() for noise in draws.noise)
    assert count.draw_bytes == held / 6
    g, d = count.generator_parameters - count.grouping_parameters, count.discriminator_parameters
    assert count.reduced_bytes == pytest.approx(4 * (d + d / 3 + g + g / 2))
    assert count.sent_bytes(1) == 0 and count.sent_bytes(4) == pytest.approx(1.5 * count.reduced_bytes)
    assert count.fixed_bytes(2) - count.fixed_bytes(1) == 4 * (g + d)


@pytest.mark.parametrize("name", ["lsun_cat_256_sarigan", "lsun_car_512_sarigan", "ffhq_1024_sarigan"])
def test_the_papers_configurations_fit_eight_processes(name: str, project_root: Any) -> None:
    lines = process_arithmetic(load_config(project_root / "configs" / f"{name}.yaml"))
    assert lines == ["on 8 processes: 32 images a step = 8 process(es) x 1 round(s) x 4 images"]
