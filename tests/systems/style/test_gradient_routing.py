"""Which loss reaches which parameter (facts of the method: groups follow the kernels, and nothing else)."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sarigan.data.batch import Batch
from sarigan.layers.kernel_similarity import block_diagonal_loss
from sarigan.systems.system import Shard
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]


def reached(loss: Tensor, parameters: Iterable[tuple[str, nn.Parameter]]) -> set[str]:
    """Names of the parameters with a gradient that is not zero everywhere."""
    named = list(parameters)
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True, retain_graph=True)
    return {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


def is_grouping(name: str) -> bool:
    return ".grouping." in name


@pytest.fixture
def trainer(tiny_config: Build, tiny_trainer: Build) -> Trainer:
    return tiny_trainer(tiny_config("objective.mixing_probability=0"))


def shard(trainer: Trainer, phase: str) -> Shard:
    draws = trainer.system.randomness.draw(phase, 0, 4, image_noise=True)
    return Shard(Batch(torch.rand(4, 3, 8, 8) * 2 - 1), draws)


def all_named(state: TrainingState) -> list[tuple[str, nn.Parameter]]:
    named = [(f"G.{name}", p) for name, p in state.system.generator.named_parameters()]
    return named + [(f"D.{name}", p) for name, p in state.system.discriminator.named_parameters()]


def test_grouping_loss_reaches_logits_temperature_and_threshold_only(trainer: Trainer) -> None:
    loss, _ = trainer.system.objective.grouping_phase(Shard(None, None))
    names = reached(loss, all_named(trainer.state))
    assert names == {f"G.{name}" for name, _ in trainer.system.generator.named_parameters() if is_grouping(name)}
    assert {name.split(".")[-1] for name in names} == {"logits", "temperature_logit", "threshold_logit"}


@pytest.mark.parametrize("step", ["hard", "soft"])
def test_threshold_learns_from_its_own_loss_only(tiny_config: Build, tiny_state: Build, step: str) -> None:
    generator = tiny_state(tiny_config(f"generator.grouping.step={step}")).system.generator
    for layer in generator.grouped_layers():
        terms = layer.grouping.loss(layer.kernel)
        named = [*layer.grouping.named_parameters(), ("kernel", layer.kernel)]
        assert reached(terms.similarity, named) == {"logits", "temperature_logit"}
        assert terms.threshold is not None
        assert reached(terms.threshold, named) == {"threshold_logit"}


@pytest.mark.parametrize("phase", ["generator", "path_length", "discriminator", "r1"])
def test_no_other_loss_reaches_the_groupings(trainer: Trainer, phase: str) -> None:
    loss, _ = getattr(trainer.system.objective, f"{phase}_phase")(shard(trainer, phase))
    names = reached(loss, all_named(trainer.state))
    assert not any(is_grouping(name) for name in names)
    # And the phase does reach what it is for.
    if phase in ("generator", "path_length"):
        expected = {f"G.{n}" for n, _ in trainer.system.generator.named_parameters() if not is_grouping(n)}
        if phase == "path_length":
            # An image's derivative with respect to w does not depend on the bias of the last, linear layer.
            expected -= {n for n in expected if n.endswith("to_rgb.bias")}
        assert expected <= names
    if phase == "discriminator":
        assert {name for name in names if name.startswith("G.")} == set()
        assert {f"D.{name}" for name, _ in trainer.system.discriminator.named_parameters()} == names
    if phase == "r1":
        assert not any(name.startswith("G.") or ".recognition." in name for name in names)
        assert "D.from_rgb.weight" in names and "D.head.weight" in names


def test_information_loss_reaches_mapping_and_synthesis_through_the_image(trainer: Trainer) -> None:
    """The target is detached, yet the mapping learns: through the image."""
    objective = trainer.system.objective
    part = shard(trainer, "generator")
    fake = objective._generate(objective.replicas, part.draws)
    loss, terms = objective._information(objective._discriminate(objective.replicas, fake.images), fake, part.draws)
    assert terms
    names = reached(loss, all_named(trainer.state))
    assert any(name.startswith("G.mapping") for name in names) and any("recognition" in name for name in names)
    assert not any(is_grouping(name) for name in names)
    fake.images = fake.images.detach()
    loss, _ = objective._information(objective._discriminate(objective.replicas, fake.images), fake, part.draws)
    assert not any(name.startswith("G.") for name in reached(loss, all_named(trainer.state)))


def test_block_diagonal_constraint_trains_the_kernels(tiny_config: Build, tiny_trainer: Build) -> None:
    """Its share of the generator's gradient is the constraint's own, on the kernels before grouped layers and nowhere else."""
    gradients = []
    for weight in (0.0, 3.0):
        config = tiny_config("generator.grouping.kind=block_diagonal", f"objective.block_diagonal_weight={weight}")
        trainer = tiny_trainer(config)
        loss, scalars = trainer.system.objective.generator_phase(shard(trainer, "generator"))
        named = list(trainer.system.generator.named_parameters())
        gradients.append(dict(zip([n for n, _ in named], torch.autograd.grad(loss, [p for _, p in named]), strict=True)))
    layers = trainer.system.generator.grouped_layers()
    kernels = {"blocks.4x4.conv.convolution.weight": layers[0], "blocks.8x8.up.convolution.weight": layers[1]}
    for name, without in gradients[0].items():
        share = gradients[1][name] - without
        layer = kernels.get(name.removeprefix("synthesis."))
        if layer is None:
            assert share.abs().max() < 1e-6, name
            continue
        constraint = block_diagonal_loss(layer.kernel, layer.grouping.groups)
        (expected,) = torch.autograd.grad(3.0 * constraint / len(layers), layer.kernel)
        assert expected.abs().max() > 1e-4
        torch.testing.assert_close(share, expected, rtol=1e-3, atol=1e-6)


def moved(trainer: Trainer, phase_name: str, real_images: Tensor) -> set[str]:
    """Names of the parameters that one optimiser step of a phase changes."""
    before = {name: p.detach().clone() for name, p in all_named(trainer.state)}
    index, phase = next((i, p) for i, p in enumerate(trainer.phases) if p.name == phase_name)
    trainer.run_phase(index, phase, real_images)
    return {name for name, p in all_named(trainer.state) if not torch.equal(p.detach(), before[name])}


def test_each_phase_moves_its_own_parameters_only(tiny_config: Build, tiny_trainer: Build) -> None:
    """After steps that leave momentum everywhere: a parameter without a gradient must not coast on its Adam state."""
    trainer = tiny_trainer(tiny_config("training.total_kimg=0.024", "objective.mixing_probability=0", "optimizer.beta1=0.5"))
    trainer.run()
    generator = {f"G.{name}" for name, _ in trainer.system.generator.named_parameters() if not is_grouping(name)}
    grouping = {f"G.{name}" for name, _ in trainer.system.generator.named_parameters() if is_grouping(name)}
    discriminator = {f"D.{name}" for name, _ in trainer.system.discriminator.named_parameters()}
    q_head = {name for name in discriminator if ".recognition." in name}
    reals = Batch(torch.rand(8, 3, 8, 8) * 2 - 1)
    assert q_head and grouping
    assert moved(trainer, "discriminator", reals) == discriminator
    assert moved(trainer, "r1", reals) == discriminator - q_head
    assert moved(trainer, "generator", reals) == generator
    assert moved(trainer, "path_length", reals) == generator
    assert moved(trainer, "grouping", reals) == grouping


def test_no_gradient_is_left_between_phases(trainer: Trainer) -> None:
    reals = Batch(torch.rand(8, 3, 8, 8) * 2 - 1)
    for index, phase in enumerate(trainer.phases):
        trainer.run_phase(index, phase, reals)
        assert all(p.grad is None for _, p in all_named(trainer.state)), phase.name


def test_groups_freeze_after_freeze_kimg(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = tiny_trainer(tiny_config("generator.grouping.freeze_kimg=0.016", "training.total_kimg=0.040"))
    due = {phase.name: [phase.is_due(step) for step in range(5)] for phase in trainer.phases}
    assert due["grouping"] == [True, True, False, False, False]
    assert due["r1"] == [True, False, False, True, False] and due["path_length"] == [True, False, True, False, True]
    seen = []
    step = trainer.train_step

    def recorded(batches: Any) -> None:
        step(batches)
        seen.append(torch.cat([p.detach().flatten().clone() for p in trainer.system.grouping_parameters]))

    trainer.train_step = recorded
    trainer.run()
    assert not torch.equal(seen[0], seen[1]) and all(torch.equal(seen[1], later) for later in seen[2:])


def test_no_grouping_phase_without_learned_groups(tiny_config: Build, tiny_trainer: Build) -> None:
    for kind in ("none", "contiguous", "random", "block_diagonal"):
        trainer = tiny_trainer(tiny_config(f"generator.grouping.kind={kind}"))
        assert [phase.name for phase in trainer.phases] == ["discriminator", "r1", "generator", "path_length"]
        assert trainer.system.optimizers.get("grouping_optimizer") is None
