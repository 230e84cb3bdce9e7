"""Straight-through groups: the values of the argmax, the gradient of the softmax, trained by the kernels and by the images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from stopped_runs import whole_and_resumed

from sarigan.data.batch import Batch
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig, SimilarityGrouping, StraightThroughGrouping, build_grouping
from sarigan.systems.system import Shard
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]
KIND = "generator.grouping.kind=straight_through"


def grouping(channels: int = 12, groups: int = 4, **options: Any) -> StraightThroughGrouping:
    found = build_grouping(GroupingConfig(kind="straight_through", num_groups=groups, **options), channels, "8x8.conv")
    assert isinstance(found, StraightThroughGrouping)
    return found.double()


@pytest.mark.parametrize("assignment", ["argmax", "round"])
def test_the_values_are_those_of_the_argmax_to_the_last_bit(assignment: str) -> None:
    found = grouping(assignment=assignment)
    member = found.trained_membership()
    assert member.requires_grad and not found.membership().requires_grad
    assert torch.equal(member, found.membership())


def test_the_gradient_is_that_of_the_softmax() -> None:
    """dP_ji/dG_jk = P_ji (delta_ik - P_jk) / t, by a loop."""
    found = grouping(5, 3)
    upstream = torch.randn(5, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found.trained_membership() * upstream).sum(), found.logits)
    p, t = found.probabilities().detach(), float(found.temperature().detach())
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for j in range(5):
        for k in range(3):
            for i in range(3):
                expected[j, k] += upstream[j, i] * p[j, i] * (float(i == k) - p[j, k]) / t
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_images_train_logits_and_a_learned_temperature_and_no_threshold() -> None:
    found = grouping(threshold="learned")
    assert [id(p) for p in found.image_parameters()] == [id(found.logits), id(found.temperature_logit)]
    constant = grouping(learn_temperature=False)
    assert [id(p) for p in constant.image_parameters()] == [id(constant.logits)]
    assert SimilarityGrouping(GroupingConfig(), 8, 4).image_parameters() == []


def test_freezing_is_refused() -> None:
    with pytest.raises(InputError, match="freeze_kimg must be null with kind straight_through, got 3: images would go on"):
        GroupingConfig(kind="straight_through", freeze_kimg=3)


@pytest.mark.parametrize(
    ("phase", "trained"),
    [("generator", True), ("path_length", True), ("grouping", True), ("discriminator", False), ("r1", False)],
)
@pytest.mark.parametrize("form", ["weight", "activation"])
def test_which_loss_reaches_the_logits(tiny_config: Build, tiny_trainer: Build, phase: str, trained: bool, form: str) -> None:
    trainer = tiny_trainer(tiny_config(KIND, f"generator.form={form}"))
    system = trainer.system
    draws = system.randomness.draw(phase, 0, 4, image_noise=True)
    loss, _ = getattr(system.objective, f"{phase}_phase")(Shard(Batch(torch.rand(4, 3, 8, 8) * 2 - 1), draws))
    logits = [layer.grouping.logits for layer in system.generator.grouped_layers()]
    gradients = torch.autograd.grad(loss, logits, allow_unused=True)
    assert all((gradient is not None and bool(gradient.any())) == trained for gradient in gradients)


def test_the_generators_step_moves_the_groups_and_an_ordinary_groupings_does_not(
    tiny_config: Build, tiny_trainer: Build
) -> None:
    """Without the grouping loss."""
    for kind, moves in ((KIND, True), ("generator.grouping.kind=similarity", False)):
        trainer: Trainer = tiny_trainer(
            tiny_config(kind, "objective.grouping_weight=0", "objective.threshold_weight=0", "training.total_kimg=0.024")
        )
        layers = trainer.system.generator.grouped_layers()
        before = [layer.grouping.logits.detach().clone() for layer in layers]
        trainer.run()
        assert all(torch.equal(old, layer.grouping.logits) != moves for old, layer in zip(before, layers, strict=True))
        separate = trainer.system.separate_parameters("generator")
        assert any(p is layers[0].grouping.logits for p in separate) != moves


def test_a_run_goes_on_with_the_same_bits(tiny_config: Build, tiny_trainer: Build, tiny_state: Build) -> None:
    whole, rest = whole_and_resumed(tiny_config, tiny_trainer, tiny_state, KIND)
    for name, parameter in whole.system.generator.named_parameters():
        assert torch.equal(parameter, dict(rest.system.generator.named_parameters())[name]), name
