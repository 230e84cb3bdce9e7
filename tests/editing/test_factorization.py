"""Closed-form directions and edits of single channels: against finite differences and against the style itself."""

import numpy as np
import pytest
import torch

from sarigan.editing.factorization import factorized_directions, latent_deviation, moved, style_matrix
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import ChannelEdit
from sarigan.models.generator import Generator, GeneratorConfig

SMALL = {"resolution": 16, "z_dim": 6, "style_dim": 6, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}


def build(kind: str, **options: str) -> Generator:
    torch.manual_seed(2)
    grouping = GroupingConfig(kind=kind, num_groups=3)
    return Generator(GeneratorConfig(**SMALL, grouping=grouping, **options)).double().eval().requires_grad_(False)


def codes_of(generator: Generator, latent: torch.Tensor, layers: list[str]) -> torch.Tensor:
    """All codes of the layers, one after the other, from the styles themselves."""
    found = dict(generator.synthesis.named_layers())
    parts = []
    for name in layers:
        codes = found[name].style(latent)
        parts += [part for part in (codes.h_scale, codes.z_scale) if part is not None]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("kind", ["none", "similarity"])
def test_the_matrix_is_the_derivative_of_the_codes(kind: str) -> None:
    generator, layers = build(kind), ["4x4.conv", "8x8.up", "16x16.conv"]
    w = torch.randn(1, generator.config.w_dim, dtype=torch.float64)
    derivative = torch.autograd.functional.jacobian(lambda x: codes_of(generator, x, layers)[0], w)[:, 0]
    torch.testing.assert_close(style_matrix(generator, layers), derivative)


def test_directions_are_those_of_the_largest_change() -> None:
    generator = build("none")
    directions, values = factorized_directions(generator)
    matrix = style_matrix(generator)
    torch.testing.assert_close(directions @ directions.t(), torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close((matrix @ directions.t()).square().sum(dim=0), values)
    _, singular, expected = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(values, singular.square())
    torch.testing.assert_close((directions * expected).sum(dim=1).abs(), torch.ones(6, dtype=torch.float64))
    assert (values.diff() <= 0).all() and (directions.amax(dim=1) >= -directions.amin(dim=1)).all()


def test_a_direction_moves_the_chosen_layers_alone() -> None:
    generator = build("none")
    latents = generator.latents(torch.randn(2, 6, dtype=torch.float64))
    direction = factorized_directions(generator, ["8x8.up"])[0][0]
    found = moved(generator, latents, direction, 3.0, ["8x8.up", "16x16.conv"])
    assert torch.equal((found - latents).abs().sum(dim=(0, 2)) > 0, torch.tensor([False, True, False, False, True, False]))
    torch.testing.assert_close(moved(generator, latents, direction, 3.0), latents + 3 * direction)


@pytest.mark.parametrize("kind", ["none", "similarity"])
@pytest.mark.parametrize("operation", ["scale", "shift"])
def test_a_channel_edit_changes_one_entry_of_a_style(kind: str, operation: str) -> None:
    """As the same change of that row of the style's weight and bias."""
    generator, z = build(kind), torch.randn(2, 6, dtype=torch.float64)
    edited = generator(z, noise="none", interventions=[ChannelEdit("8x8.conv", 5, operation, 1.7)]).images
    style = dict(generator.synthesis.named_layers())["8x8.conv"].style.z_scale
    if operation == "scale":
        style.weight[5] *= 1.7
        style.bias[5] *= 1.7
    else:
        style.bias[5] += 1.7
    torch.testing.assert_close(edited, generator(z, noise="none").images)
    assert not torch.allclose(edited, build(kind)(z, noise="none").images)


def test_what_is_not_there() -> None:
    generator, z = build("none"), torch.zeros(1, 6, dtype=torch.float64)
    for edit, part in (
        (ChannelEdit("9x9.up", 0, "scale", 1.0), "no layer '9x9.up': the layers are 4x4.conv, 8x8.up"),
        (ChannelEdit("8x8.up", 8, "scale", 1.0), "no channel 8 in layer 8x8.up: the channels are 0 to 7"),
        (ChannelEdit("8x8.up", -1, "scale", 1.0), "no channel -1"),
    ):
        with pytest.raises(InputError, match=part):
            generator(z, interventions=[edit])
    with pytest.raises(InputError, match="operation must be scale or shift, got 'move'"):
        ChannelEdit("8x8.up", 0, "move", 1.0)
    with pytest.raises(InputError, match="must be a finite number of 32 bits, got nan"):
        ChannelEdit("8x8.up", 0, "scale", float("nan"))
    with pytest.raises(InputError, match="no layer 'x'"):
        style_matrix(generator, ["x"])
    with pytest.raises(InputError, match="at least one layer, got none"):
        style_matrix(generator, [])
    with pytest.raises(InputError, match="directions are of StyleGAN2 and SariGAN"):
        style_matrix(build("none", synthesis="adain"))
    with pytest.raises(InputError, match="none that can be edited"):
        build("none", synthesis="adain")(z, interventions=[ChannelEdit("8x8.up", 0, "scale", 1.0)])


def test_deviation_of_w_along_a_direction() -> None:
    """Of the first axis it is that of the first entry of w."""
    generator = Generator(GeneratorConfig(resolution=8, z_dim=8, style_dim=8, channel_base=64, channel_max=8, mapping_layers=1,
                                          grouping=GroupingConfig(kind="none")))  # fmt: skip
    axis = torch.eye(generator.config.w_dim)[:1]
    z = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = float(np.std(generator.mapping(z)[:, 0].numpy(), ddof=1))
    assert latent_deviation(generator, axis) == pytest.approx([expected], rel=1e-5)
