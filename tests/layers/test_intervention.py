"""Edits of codes inside the forward: what they leave alone, to the bit, and what Eq. 5 makes of them."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import Intervention, Regrouping, group_code
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.style import StyleCodes
from sarigan.models.generator import Generator, GeneratorConfig

SMALL = {"resolution": 16, "z_dim": 16, "style_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 32}
LAYER, EMPTY = "8x8.conv", 5
VARIANTS = {
    "weight": {},
    "biases": {"style_biases": True},
    "activation": {"form": "activation"},
    "release": {"grouping": {"empty_group": "release"}},
}


def build(variant: str) -> Generator:
    """A generator with six groups a layer, the last one empty; noise and codes are not at their initial values."""
    torch.manual_seed(1)
    changes = dict(VARIANTS[variant])
    grouping = GroupingConfig(num_groups=6, **changes.pop("grouping", {}))
    generator = Generator(GeneratorConfig(**SMALL, grouping=grouping, **changes))
    with torch.no_grad():
        for layer in generator.grouped_layers():
            layer.grouping.logits[:, EMPTY] = -100
        for name, parameter in generator.named_parameters():
            if name.endswith("_bias.bias"):
                parameter.normal_(std=0.3)
    return generator.eval().requires_grad_(False)


@pytest.fixture(params=VARIANTS)
def generator(request: pytest.FixtureRequest) -> Generator:
    return build(request.param)


def images(generator: Generator, *edits: Intervention) -> torch.Tensor:
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    return generator(z, noise="fixed", interventions=edits).images


def codes(generator: Generator, *edits: Intervention) -> StyleCodes:
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    return generator(z, noise="fixed", interventions=edits).codes[LAYER]


@pytest.mark.parametrize("code", ["z", "h"])
def test_edits_that_do_nothing_leave_every_bit(generator: Generator, code: str) -> None:
    before = images(generator)
    values = group_code(codes(generator), 2, code)
    for edit in (
        Intervention(LAYER, 2, code, "scale", 1.0),
        Intervention(LAYER, 2, code, "move", 0.0, values + 7),
        Intervention(LAYER, 2, code, "move", 1.0, values),
        Intervention(LAYER, 2, code, "shift", 0.0, values),
    ):
        assert torch.equal(images(generator, edit), before), edit.operation
    other = values + torch.linspace(1, 2, values.shape[1])
    assert not torch.equal(images(generator, Intervention(LAYER, 2, code, "move", 1.0, other)), before)


@pytest.mark.parametrize("code", ["z", "h"])
def test_an_empty_group_has_nothing_to_edit(generator: Generator, code: str) -> None:
    """Also where the release lets its h move every channel."""
    before = images(generator)
    values = group_code(codes(generator), EMPTY, code)
    for edit in (
        Intervention(LAYER, EMPTY, code, "scale", 50.0),
        Intervention(LAYER, EMPTY, code, "move", 1.0, values + 5),
        Intervention(LAYER, EMPTY, code, "shift", 3.0, torch.ones(values.shape[1])),
    ):
        assert torch.equal(images(generator, edit), before), edit.operation


@pytest.mark.parametrize("variant", ["weight", "biases", "activation"])
@pytest.mark.parametrize("factor", [0.5, 3.0, 10.0])
def test_a_positive_factor_on_one_z_is_normalised_away(variant: str, factor: float) -> None:
    """Eq. 5 divides by the length of z_i. (In the release's form an empty group spreads every z over all channels.)"""
    generator = build(variant)
    edit = Intervention(LAYER, 2, "z", "scale", factor)
    assert not torch.equal(codes(generator, edit).z_scale, codes(generator).z_scale)
    assert (images(generator, edit) - images(generator)).abs().max() < 1e-5


@pytest.mark.parametrize("variant", ["weight", "biases"])
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_positive_factor_on_all_h_is_demodulated_away(variant: str, factor: float) -> None:
    """Eq. 6 divides by the length of w'. The activation form has no demodulation, and there h does set the contrast."""
    generator = build(variant)
    edits = [Intervention(LAYER, group, "h", "scale", factor) for group in range(6)]
    largest = 1.0 if variant == "weight" else images(generator).abs().max()  # untrained biases make wild images
    assert (images(generator, *edits) - images(generator)).abs().max() < 1e-5 * largest
    assert (images(generator, edits[0]) - images(generator)).abs().max() > 1e-3


def test_only_the_codes_of_the_group_change(generator: Generator) -> None:
    before = codes(generator)
    member = before.membership[:, 2] > 0
    assert 1 < member.sum() < 32
    after = codes(generator, Intervention(LAYER, 2, "z", "scale", -2.0))
    assert torch.equal(after.z_scale[:, ~member], before.z_scale[:, ~member])
    assert torch.equal(after.z_scale[:, member], -2 * before.z_scale[:, member])
    assert torch.equal(after.h_scale, before.h_scale)
    after = codes(generator, Intervention(LAYER, 2, "h", "shift", 2.0, torch.ones(1 if before.h_bias is None else 2)))
    assert torch.equal(after.h_scale[:, 2], before.h_scale[:, 2] + 2)
    assert torch.equal(after.h_scale[:, [0, 1, 3, 4, 5]], before.h_scale[:, [0, 1, 3, 4, 5]])
    assert torch.equal(after.z_scale, before.z_scale)


def test_moving_reaches_and_passes_the_target(generator: Generator) -> None:
    start = group_code(codes(generator), 2, "z")
    target = torch.randn(start.shape[1])
    reached = group_code(codes(generator, Intervention(LAYER, 2, "z", "move", 1.0, target)), 2, "z")
    assert torch.equal(reached, target.expand_as(start))
    passed = group_code(codes(generator, Intervention(LAYER, 2, "z", "move", 2.0, target)), 2, "z")
    torch.testing.assert_close(passed, 2 * target - start)


def test_edits_are_applied_one_after_the_other(generator: Generator) -> None:
    start = group_code(codes(generator), 2, "h")
    values = torch.full((start.shape[1],), 0.5)
    edits = [Intervention(LAYER, 2, "h", "scale", 3.0), Intervention(LAYER, 2, "h", "shift", 1.0, values)]
    torch.testing.assert_close(group_code(codes(generator, *edits), 2, "h"), 3 * start + 0.5)
    torch.testing.assert_close(group_code(codes(generator, *edits[::-1]), 2, "h"), 3 * (start + 0.5))


def test_z_of_another_image_per_sample_equals_that_image_at_that_layer() -> None:
    """All z_i and h_i of every layer set to another latent's, that latent in the ungrouped layers: its image."""
    generator = build("weight")
    first, second = torch.randn(2, 3, 16).unbind()
    target = generator(second, noise="fixed")
    edits = [
        Intervention(name, group, code, "move", 1.0, group_code(found, group, code))
        for name, found in target.codes.items()
        for group in range(6)
        for code in ("z", "h")
    ]
    layers = list(dict(generator.synthesis.named_layers()))
    latents = generator.latents(second).clone()
    for index, name in enumerate(layers):
        resolution = int(name.split("x")[0])
        position = 2 * resolution.bit_length() - 2 - (5 if name.endswith("up") else 4)
        if name in target.codes and name.endswith("conv"):  # `up` shares its latent with a ToRGB
            latents[:, position] = generator.latents(first)[:, 0]
        assert index == 0 or position > 0
    mixed = generator.synthesize(latents, "fixed")
    assert (mixed.images - target.images).abs().max() > 1e-2
    torch.testing.assert_close(generator.synthesize(latents, "fixed", edits).images, target.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Intervention("9x9.up", 0, "z", "scale"), r"no grouped layer '9x9.up': the layers are 8x8.up, 8x8.conv, 16x16.up"),
        (Intervention("4x4.conv", 0, "z", "scale"), r"no grouped layer '4x4.conv'"),
        (Intervention(LAYER, 6, "h", "scale"), r"no group 6 in layer 8x8.conv: the groups are 0 to 5"),
        (Intervention(LAYER, -1, "h", "scale"), r"no group -1"),
        (Intervention(LAYER, 1, "h", "move", 1.0, torch.ones(9)), r"h of group 1 in 8x8.conv: it has 1 values, got 9"),
    ],
)
def test_places_that_are_not_there(edit: Intervention, message: str) -> None:
    with pytest.raises(InputError, match=message):
        images(build("weight"), edit)


def test_generators_without_groups_refuse() -> None:
    for changes in ({}, {"synthesis": "adain"}):
        plain = Generator(GeneratorConfig(**SMALL, **changes, grouping=GroupingConfig(kind="none")))
        with pytest.raises(InputError, match="this generator has no groups"):
            images(plain, Intervention(LAYER, 0, "z", "scale"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "w"}, "code must be one of z, h, got 'w'"),
        ({"operation": "turn"}, "operation must be one of scale, move, shift"),
        ({"amount": float("nan")}, "amount must be a finite number"),
        ({"operation": "move"}, "operation move needs values"),
        ({"values": torch.ones(2)}, "operation scale takes no values"),
    ],
)
def test_what_makes_no_edit(change: dict[str, object], message: str) -> None:
    good = Intervention(LAYER, 0, "z", "scale", 2.0)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(good, **change)


def test_gradients_pass_through_values() -> None:
    generator = build("weight")
    values = group_code(codes(generator), 2, "z")[0].clone().requires_grad_(True)
    images(generator, Intervention(LAYER, 2, "z", "move", 1.0, values)).square().sum().backward()
    assert values.grad is not None and bool((values.grad != 0).all())
    # The image does not depend on the length of z_i: the gradient is orthogonal to it.
    assert abs(F.cosine_similarity(values.grad, values.detach(), dim=0).item()) < 1e-3


@pytest.mark.parametrize("variant", ["weight", "activation"])
def test_regrouping_keeps_the_image_and_hands_over_the_groups(variant: str) -> None:
    generator = build(variant)
    before = images(generator)
    groups = torch.randint(0, 5, (32,), generator=torch.Generator().manual_seed(0))
    regroup = Regrouping(LAYER, groups)
    torch.testing.assert_close(images(generator, regroup), before, rtol=0, atol=1e-4)  # of images up to 2
    found = codes(generator, regroup)
    assert torch.equal(found.membership.argmax(dim=1), groups) and bool((found.h_scale >= 0).all())
    scale, _ = channel_affine(found, 0.0)
    torch.testing.assert_close(scale, channel_affine(codes(generator), 0.0)[0])
    # Its h then scales the new group's channels alone.
    edited, _ = channel_affine(codes(generator, regroup, Intervention(LAYER, 3, "h", "scale", 2.0)), 0.0)
    factor = torch.where(groups == 3, 2.0, 1.0)
    torch.testing.assert_close(edited, scale * factor)


def test_regroupings_that_do_not_fit() -> None:
    one_too_many, negative = (torch.tensor([0] * 31 + [last]) for last in (6, -1))
    for groups in (torch.zeros(31, dtype=torch.long), torch.full((32,), 6), one_too_many, negative):
        with pytest.raises(InputError, match="a regrouping has 32 groups of 0 to 5"):
            images(build("weight"), Regrouping(LAYER, groups))
    with pytest.raises(InputError, match="codes with biases cannot be regrouped"):
        images(build("biases"), Regrouping(LAYER, torch.zeros(32, dtype=torch.long)))
