"""The generator's interface: latents, mixing, truncation, noise, and errors."""

import dataclasses
from typing import Any

import pytest
import torch

from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig, LatentMixing

SMALL = {"resolution": 8, "z_dim": 6, "style_dim": 8, "mapping_layers": 2, "channel_base": 32, "channel_max": 8}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(**SMALL, grouping=GroupingConfig(num_groups=4)))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.strength"):
                parameter.fill_(0.5)
    return generator.eval()


def z(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def test_w_is_shared_by_all_latents(generator: Generator) -> None:
    output = generator(z(3))
    assert output.images.shape == (3, 3, 8, 8) and output.latents.shape == (3, 4, 16)
    for layer in range(4):
        assert torch.equal(output.latents[:, layer], generator.mapping(z(3)))


def test_without_groups_w_has_one_half() -> None:
    generator = Generator(GeneratorConfig(**SMALL, grouping=GroupingConfig(kind="none")))
    output = generator(z(2))
    assert output.latents.shape == (2, 4, 8) and output.codes == {} and output.groups == {}


def test_layer_mixing_changes_latents_from_the_crossover_on(generator: Generator) -> None:
    latents = generator.latents(z(2), LatentMixing(z(2, seed=1), "layers", crossover=3))
    first, second = generator.mapping(z(2)), generator.mapping(z(2, seed=1))
    assert all(torch.allclose(latents[:, layer], first, atol=1e-6) for layer in (0, 1, 2))
    assert torch.allclose(latents[:, 3], second, atol=1e-6)


def test_halves_mixing_takes_w_h_of_the_first_and_w_z_of_the_second(generator: Generator) -> None:
    latents = generator.latents(z(2), LatentMixing(z(2, seed=1), "halves"))
    first, second = generator.mapping(z(2)), generator.mapping(z(2, seed=1))
    for layer in range(4):
        assert torch.allclose(latents[:, layer, :8], first[:, :8], atol=1e-6)
        assert torch.allclose(latents[:, layer, 8:], second[:, 8:], atol=1e-6)


def test_mean_latent_is_the_mean_of_ten_thousand_fixed_latents(generator: Generator) -> None:
    torch.manual_seed(77)
    generator.update_mean_latent()
    source = torch.Generator().manual_seed(0)
    expected = generator.mapping(torch.randn(10_000, 6, generator=source)).mean(dim=0)
    torch.testing.assert_close(generator.mean_latent, expected, rtol=1e-4, atol=1e-6)
    assert generator.mean_latent.abs().max() > 0.01


def test_the_mean_latent_starts_at_0(generator: Generator) -> None:
    """Before its first update, which draws as many latents as asked for, from seed 0 unless another is named."""
    assert (generator.mean_latent == 0).all()
    generator.update_mean_latent(1500)
    source = torch.Generator().manual_seed(0)
    torch.testing.assert_close(
        generator.mean_latent, generator.mapping(torch.randn(1500, 6, generator=source)).mean(dim=0), rtol=1e-4, atol=1e-6
    )
    before = generator.mean_latent.clone()
    generator.update_mean_latent(1500, seed=1)
    assert not torch.equal(generator.mean_latent, before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 4}, "generator.resolution must be a power of two and at least 8, got 4"),
        ({"resolution": 24}, "generator.resolution must be a power of two and at least 8, got 24"),
        ({"channel_max": 0}, "generator.channel_max must be at least 1, got 0"),
        ({"channel_base": 3}, "generator.channel_base must be at least 4 at resolution 8, got 3"),
        ({"mapping_layers": 0}, "generator.mapping_layers must be at least 1, got 0"),
        ({"z_dim": 0}, "generator.z_dim must be at least 1, got 0"),
        ({"style_dim": 0}, "generator.style_dim must be at least 1, got 0"),
        ({"mapping_learning_rate_multiplier": 0.0}, "mapping_learning_rate_multiplier must be positive, got 0.0"),
        ({"synthesis": "unet"}, "generator.synthesis must be one of skip, adain, got 'unet'"),
        ({"synthesis": "adain"}, "grouping.kind must be none with generator.synthesis=adain, got 'similarity'"),
        ({"form": "activation", "grouping": GroupingConfig(kind="none")}, "form=activation needs groups"),
        ({"form": "activation", "grouping": GroupingConfig(empty_group="release")}, "exists in the weight form only"),
        ({"style_biases": True, "grouping": GroupingConfig(kind="none")}, "style_biases needs groups"),
        ({"style_biases": True, "grouping": GroupingConfig(empty_group="release")}, "needs groups and .*empty_group=zero"),
    ],
)
def test_wrong_configurations(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GeneratorConfig(**{**SMALL, **fields})


def test_the_smallest_generator() -> None:
    """One of everything: the bounds themselves are allowed."""
    ones = {"z_dim": 1, "style_dim": 1, "mapping_layers": 1, "channel_base": 4, "channel_max": 1}
    generator = Generator(GeneratorConfig(8, **ones, grouping=GroupingConfig(num_groups=1)))
    assert generator(torch.ones(2, 1)).images.shape == (2, 3, 8, 8)
    assert [layer.convolution.weight.shape[0] for _, layer in generator.synthesis.named_layers()] == [1, 1, 1]


def test_truncation_pulls_towards_the_mean(generator: Generator) -> None:
    generator.update_mean_latent()
    plain = generator(z(3)).latents
    for psi in (0.0, 0.5, 0.7):
        truncated = generator(z(3), truncation_psi=psi).latents
        torch.testing.assert_close(truncated, generator.mean_latent + psi * (plain - generator.mean_latent))
    torch.testing.assert_close(generator(z(3), truncation_psi=1.0).latents, plain)


def test_truncation_of_the_first_latents_only(generator: Generator) -> None:
    generator.update_mean_latent()
    plain, cut = generator(z(3)).latents, generator(z(3), truncation_psi=0.0, truncation_cutoff=2).latents
    assert torch.allclose(cut[:, :2], generator.mean_latent.expand(3, 2, -1)) and torch.equal(cut[:, 2:], plain[:, 2:])


def test_psi_zero_gives_one_image(generator: Generator) -> None:
    generator.update_mean_latent()
    images = generator(z(3), truncation_psi=0.0, noise="fixed").images
    torch.testing.assert_close(images[1:], images[:1].expand(2, -1, -1, -1))
    assert not torch.allclose(generator(z(3), noise="fixed").images[0], images[0])


def test_noise_kinds(generator: Generator) -> None:
    fixed = [generator(z(2), noise="fixed").images for _ in range(2)]
    assert torch.equal(*fixed)
    random = [generator(z(2), noise="random").images for _ in range(2)]
    assert not torch.equal(*random)
    none = generator(z(2), noise="none").images
    zeros = [torch.zeros(2, 1, h, w) for h, w in generator.synthesis.noise_shapes()]
    torch.testing.assert_close(generator(z(2), noise=zeros).images, none)
    assert not torch.equal(none, fixed[0])
    # Fixed noise is the same for every sample: equal latents give equal images.
    twins = generator(z(1).expand(2, -1), noise="fixed").images
    torch.testing.assert_close(twins[0], twins[1])


@pytest.mark.parametrize("settings", [{"grouping": GroupingConfig(num_groups=4)}, {"synthesis": "adain"}])
def test_a_generator_without_noise_is_one_with_none(settings: dict[str, Any]) -> None:
    """Whatever kind is asked for, and the weights of the noise apart the same state."""
    plain = GeneratorConfig(**SMALL, **({"grouping": GroupingConfig(kind="none")} | settings))
    noisy, silent = Generator(plain), Generator(dataclasses.replace(plain, noise=False))
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.add_(0.1)  # noise strengths that show
    state = {name: value for name, value in noisy.state_dict().items() if not name.endswith("noise.strength")}
    silent.load_state_dict(state)
    assert len(state) < len(noisy.state_dict()) and silent.synthesis.noise_shapes() == []
    expected = noisy(z(2), noise="none").images
    assert not torch.allclose(noisy(z(2), noise="fixed").images, expected)
    for kind in ("none", "fixed", "random"):
        assert torch.equal(silent(z(2), noise=kind).images, expected)
    with pytest.raises(InputError, match="generator.stored_noise=true needs generator.noise=true"):
        dataclasses.replace(plain, noise=False, stored_noise=True)


@pytest.mark.parametrize("shape", [(6,), (2, 7), (2, 6, 1)])
def test_wrong_latents_are_named(generator: Generator, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"z must have shape \(N, 6\), got"):
        generator(torch.zeros(shape))


def test_wrong_noise_is_named(generator: Generator) -> None:
    with pytest.raises(InputError, match="noise must be random, fixed, none or a list of tensors, got 'const'"):
        generator(z(1), noise="const")
