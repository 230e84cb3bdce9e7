"""Style mixing: what comes from the row and what from the column."""

import pytest
import torch

from sarigan.editing.group_editing import (
    along,
    difference_map,
    group_swaps,
    latent_range,
    mix_halves,
    mix_layers,
    principal_directions,
    toward,
)
from sarigan.editing.rendering import Sampling, render
from sarigan.editing.seeds import latents_of_seeds
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import group_code
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.visualization.mixing import noise_deviation, noise_sheet

SAMPLING = Sampling(truncation_psi=1.0)


def build(resolution: int = 32, kind: str = "similarity", noise: bool = True) -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=resolution, z_dim=8, style_dim=8, mapping_layers=2, channel_base=8 * resolution, channel_max=16,
        noise=noise, grouping=GroupingConfig(kind=kind, num_groups=3),
    )  # fmt: skip
    return Generator(config).eval().requires_grad_(False)


def test_ranges() -> None:
    """At 1024 px those of the StyleGAN papers: 0-3, 4-7, 8-17."""
    expected = {
        1024: ((0, 4), (4, 8), (8, 18)), 64: ((0, 4), (4, 8), (8, 10)), 32: ((0, 4), (4, 6), (6, 8)),
        16: ((0, 4), None, (4, 6)),
    }  # fmt: skip
    for resolution, ranges in expected.items():
        generator = Generator(GeneratorConfig(resolution, z_dim=4, style_dim=4, channel_base=1024, channel_max=8,
                                              grouping=GroupingConfig(kind="none")))  # fmt: skip
        for name, ends in zip(("coarse", "middle", "fine"), ranges, strict=True):
            if ends is None:
                with pytest.raises(InputError, match="no middle layers"):
                    latent_range(generator, name)
            else:
                assert latent_range(generator, name) == range(*ends), (resolution, name)
    assert latent_range(generator, "1-3") == range(1, 4) and latent_range(generator, "2") == range(2, 3)
    for wrong in ("6", "3-1", "rough", "1-2-3"):
        with pytest.raises(InputError, match="--layers"):
            latent_range(generator, wrong)


def test_mixing_latents() -> None:
    generator = build()
    a, b = latents_of_seeds(generator, [0]), latents_of_seeds(generator, [1])
    mixed = mix_layers(a, b, range(2, 5))
    assert torch.equal(mixed[:, 2:5], b[:, 2:5]) and torch.equal(mixed[:, [0, 1, 5, 6, 7]], a[:, [0, 1, 5, 6, 7]])
    halves = mix_halves(generator, a, b, "h")
    assert torch.equal(halves[..., :8], b[..., :8]) and torch.equal(halves[..., 8:], a[..., 8:])
    assert torch.equal(mix_halves(generator, a, b, "z"), mix_halves(generator, b, a, "h"))
    with pytest.raises(InputError, match="has no groups"):
        mix_halves(build(kind="none"), a, b, "h")


def test_swapping_all_groups_of_a_layer_is_its_latent() -> None:
    """For a layer that shares its latent with no ToRGB: swapping every z_i and h_i equals swapping that latent."""
    generator = build()
    a, b = latents_of_seeds(generator, [0, 1]), latents_of_seeds(generator, [2, 3])
    edits = group_swaps(generator, b, [("16x16.conv", group) for group in range(3)], ("z", "h"))
    by_latent = render(generator, mix_layers(a, b, range(4, 5)))
    torch.testing.assert_close(render(generator, a, interventions=edits, batch_size=1), by_latent, rtol=0, atol=1e-5)
    assert (by_latent - render(generator, a)).abs().max() > 1e-3


def test_principal_directions_of_a_planted_code() -> None:
    """z = A w_z + 1 with w_z from the mapping: the directions are the eigenvectors of the covariance of z."""
    generator = build()
    directions, share = principal_directions(generator, "16x16.up", 1, num_latents=700)
    latents = latents_of_seeds(generator, range(700))
    values = group_code(generator.synthesis.layer_codes(latents)["16x16.up"], 1, "z").double()
    variances, vectors = torch.linalg.eigh(torch.cov(values.t()))
    torch.testing.assert_close(directions.double().norm(dim=1) ** 2, variances.flip(0).clamp_min(0), rtol=1e-4, atol=1e-8)
    first = torch.nn.functional.normalize(directions[0].double(), dim=0)
    assert abs(float(first @ vectors[:, -1])) == pytest.approx(1, abs=1e-5)
    assert share.sum() == pytest.approx(1, abs=1e-5) and (share[:-1] >= share[1:]).all()
    with pytest.raises(InputError, match=r"no direction 99 of z of group 1 in 16x16.up; there are 0 to"):
        along(generator, "16x16.up", 1, "z", 99)


def test_toward_a_seed_reaches_its_code() -> None:
    generator = build()
    family = toward(generator, SAMPLING, "16x16.up", 1, "z", 7)
    latents = latents_of_seeds(generator, [0])
    wanted = group_code(generator.synthesis.layer_codes(latents_of_seeds(generator, [7]))["16x16.up"], 1, "z")
    found = generator.synthesize(latents, "fixed", [family(1.0)]).codes["16x16.up"]
    assert torch.equal(group_code(found, 1, "z"), wanted)
    before = render(generator, latents)
    assert torch.equal(render(generator, latents, interventions=[family(0.0)]), before)
    assert difference_map(before, before).max() == 0 and difference_map(before, before + 0.5).mean() == pytest.approx(0.5)


def test_noise_deviation_is_that_of_the_noise() -> None:
    """A generator whose noise strengths are zero does not vary; with strengths it does."""
    generator = build()
    _, quiet = noise_deviation(generator, SAMPLING, 0, 5)
    assert quiet.max() < 1e-6
    for name, parameter in generator.named_parameters():
        if name.endswith("noise.strength"):
            parameter.fill_(0.3)
    images, loud = noise_deviation(generator, SAMPLING, 0, 5)
    expected = images.double().numpy().std(axis=0, ddof=1).mean(axis=0)
    torch.testing.assert_close(loud.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
    assert loud.mean() > 1e-3
    with pytest.raises(InputError, match="the layers of this generator add no noise"):
        noise_sheet(build(noise=False), SAMPLING, [0], 5)
