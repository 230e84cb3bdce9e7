"""Style mixing and the information loss: which steps have it, and what it regresses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.models.discriminator import information_target
from sarigan.systems.style.objective import information_dim
from sarigan.systems.system import Shard
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]


def build(tiny_config: Build, tiny_trainer: Build, *overrides: str) -> Trainer:
    return tiny_trainer(tiny_config("objective.mixing_probability=1", *overrides))


def information(trainer: Trainer, phase: str = "generator") -> tuple[Tensor, dict[str, Tensor], Any, Any]:
    """Its weighted loss and terms in a mixed step, with the fake images and Q's output."""
    objective = trainer.system.objective
    draws = trainer.system.randomness.draw(phase, 0, 8)
    assert draws.mixing is not None
    fake = objective._generate(objective.replicas, draws)
    output = objective._discriminate(objective.replicas, fake.images)
    loss, terms = objective._information(output, fake, draws)
    return loss, terms, fake, output


@pytest.mark.parametrize("phase", ["generator", "discriminator"])
def test_skip_is_exactly_zero_in_a_mixed_step(tiny_config: Build, tiny_trainer: Build, phase: str) -> None:
    trainer = build(tiny_config, tiny_trainer)
    loss, terms, _, output = information(trainer, phase)
    assert loss.item() == 0 and terms == {}
    (gradient,) = torch.autograd.grad(loss, output.codes)
    assert (gradient == 0).all()
    draws = trainer.system.randomness.draw(phase, 0, 8)
    total, scalars = getattr(trainer.system.objective, f"{phase}_phase")(Shard(Batch(torch.zeros(8, 3, 8, 8)), draws))
    assert total.item() == scalars[f"loss/{phase}"].item()
    assert not any(name.startswith("information") for name in scalars)


def test_skip_leaves_unmixed_steps_alone(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = tiny_trainer(tiny_config("objective.mixing_probability=0", "objective.information_weight=3"))
    objective = trainer.system.objective
    draws = trainer.system.randomness.draw("generator", 0, 8)
    fake = objective._generate(objective.replicas, draws)
    output = objective._discriminate(objective.replicas, fake.images)
    loss, terms = objective._information(output, fake, draws)
    error = (output.codes - trainer.system.generator.mapping(draws.z)).square().mean()
    torch.testing.assert_close(loss, 3 * error)
    torch.testing.assert_close(terms["information/mse"], error.detach())


def test_regress_takes_the_mean_over_the_layers(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = build(tiny_config, tiny_trainer, "objective.information_under_mixing=regress")
    loss, terms, fake, output = information(trainer)
    draws = trainer.system.randomness.draw("generator", 0, 8)
    first, second = (trainer.system.generator.mapping(z) for z in (draws.z, draws.mixing.second_z))
    share = draws.mixing.crossover / trainer.system.generator.num_latents
    target = share * first + (1 - share) * second
    torch.testing.assert_close(information_target(fake, "w"), target)
    torch.testing.assert_close(loss, 10 * (output.codes - target.detach()).square().mean())
    assert loss.item() > 0 and terms


def test_halves_keep_one_w_that_describes_the_image(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = build(tiny_config, tiny_trainer, "objective.mixing_kind=halves")
    loss, terms, fake, output = information(trainer)
    draws = trainer.system.randomness.draw("generator", 0, 8)
    first, second = (trainer.system.generator.mapping(z) for z in (draws.z, draws.mixing.second_z))
    target = torch.cat([first[:, :8], second[:, 8:]], dim=1)  # [w_h of the one, w_z of the other]
    for layer in range(trainer.system.generator.num_latents):
        assert torch.equal(fake.latents[:, layer], target)
    torch.testing.assert_close(loss, 10 * (output.codes - target.detach()).square().mean())
    assert terms


def test_codes_target_is_h_and_z_of_every_grouped_layer(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = build(tiny_config, tiny_trainer, "objective.mixing_kind=halves", "objective.information_target=codes")
    loss, _, fake, output = information(trainer)
    expected = [p for name in ("8x8.up", "8x8.conv") for p in (fake.codes[name].h_scale, fake.codes[name].z_scale)]
    target = torch.cat(expected, dim=1)
    assert output.codes.shape == target.shape == (8, 2 * (3 + 8))
    assert information_dim(trainer.state.config.objective, trainer.system.generator) == 22
    torch.testing.assert_close(loss, 10 * (output.codes - target.detach()).square().mean())


def test_nats_weigh_the_sum(tiny_config: Build, tiny_trainer: Build) -> None:
    """dimensions/2 times the mean: 16/2 for a 16-dimensional w."""
    losses = [
        information(build(tiny_config, tiny_trainer, "objective.mixing_kind=halves", f"objective.information_in_nats={on}"))[0]
        for on in ("false", "true")
    ]
    assert losses[1].item() == pytest.approx(8 * losses[0].item(), rel=1e-5)


def test_no_information_weight_means_no_q_head(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = tiny_trainer(tiny_config("objective.information_weight=0", "training.total_kimg=0.008"))
    assert trainer.system.discriminator.recognition is None
    assert information_dim(trainer.state.config.objective, trainer.system.generator) == 0
    trainer.run()
    assert not any(name.startswith("information") for name in trainer.scalars.means())


def test_information_loss_makes_codes_readable(tiny_config: Build, tiny_trainer: Build) -> None:
    """With halves mixing and nothing else to do, R^2 of Q rises from far below zero."""
    config = tiny_config(
        "objective.mixing_kind=halves", "objective.r1_gamma=0", "objective.path_length_weight=0",
        "training.total_kimg=0.6", "generator.z_dim=4", "generator.style_dim=4",
        "optimizer.generator_learning_rate=0.01", "optimizer.discriminator_learning_rate=0.01",
    )  # fmt: skip
    trainer = tiny_trainer(config)
    from sarigan.systems.style.system import with_information_r2

    def r2(steps: int) -> float:
        trainer.total_steps = trainer.state.step + steps
        trainer.run()
        return with_information_r2(trainer.scalars.means())["information/r2_d"]

    first = r2(5)
    r2(60)
    assert r2(10) > first + 0.3
