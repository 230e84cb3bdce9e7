"""The co-modulated networks: published sizes, what reaches what, and the plain generator as their special case."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sarigan.config import load_config
from sarigan.data.batch import Batch, to_signed_float
from sarigan.layers.grouping import GroupingConfig
from sarigan.losses.reconstruction import hole_l1
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.systems.inpainting.encoder import EncoderConfig, masked_input
from sarigan.systems.inpainting.generator import InpaintingDiscriminator, InpaintingGenerator
from sarigan.systems.inpainting.system import InpaintingSystem
from sarigan.systems.system import Shard, count_parameters
from sarigan.training.precision import Precision, resolve_precision

Build = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "channel_base", "generator", "encoder"),
    [
        ("none", 8192, 67_990_626, 27_232_384),
        ("similarity", 8192, 68_619_066, 27_232_384),  # with the learned thresholds of the release
        ("none", 16384, 79_177_378, 31_841_536),
        ("similarity", 16384, 79_819_130, 31_841_536),
    ],
)
def test_parameter_counts_at_256_px(kind: str, channel_base: int, generator: int, encoder: int) -> None:
    overrides = [
        "system=inpainting", f"generator.grouping.kind={kind}", f"generator.channel_base={channel_base}",
        "generator.grouping.threshold=learned", "generator.grouping.initial_threshold=0.25",
    ]  # fmt: skip
    with torch.device("meta"):
        system = load_config(None, overrides).build(Precision(torch.device("meta"), "float32"))
    assert isinstance(system, InpaintingSystem)
    assert count_parameters(system.generator) == generator
    assert count_parameters(system.generator.encoder) == encoder


def config_of(kind: str = "similarity", **settings: Any) -> GeneratorConfig:
    grouping = GroupingConfig(kind=kind, num_groups=3)
    return GeneratorConfig(
        resolution=16, z_dim=8, style_dim=8, mapping_layers=2, channel_base=96, channel_max=8, grouping=grouping, **settings
    )


def inputs(generator: InpaintingGenerator, n: int = 3) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    dtype = generator.mean_latent.dtype
    known = (torch.rand(n, 1, 16, 16) > 0.4).to(dtype)
    noise = [torch.randn(n, 1, h, w, dtype=dtype) for h, w in generator.synthesis.noise_shapes()]
    return torch.rand(n, 3, 16, 16, dtype=dtype) * 2 - 1, known, torch.randn(n, 8, dtype=dtype), noise


def test_without_noise() -> None:
    co = InpaintingGenerator(config_of(noise=False), EncoderConfig(global_dim=5))
    images, known, z, noise = inputs(co)
    assert noise == [] and not [name for name, _ in co.named_parameters() if name.endswith("noise.strength")]
    images, known, z = images.float(), known.float(), z.float()
    assert torch.equal(co(images, known, z).images, co(images, known, z, noise="none").images)
    assert co.complete(images, known, [0, 1, 2]).shape == images.shape


@pytest.mark.parametrize("kind", ["none", "similarity"])
@pytest.mark.parametrize("form", ["weight", "activation"])
def test_without_an_encoder_it_is_the_plain_generator(kind: str, form: str) -> None:
    """Zero columns for the global code and a silent encoder: the plain network with features / sqrt(2) after every `up`."""
    if kind == "none" and form == "activation":
        pytest.skip("the activation form needs groups")
    plain = Generator(config_of(kind, form=form)).double()
    co = InpaintingGenerator(config_of(kind, form=form), EncoderConfig(global_dim=5)).double()
    narrow, wide = dict(plain.named_parameters()), dict(co.named_parameters())
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # noise strengths and biases that show
        for name, parameter in wide.items():
            if name.startswith(("encoder.", "start.")):
                parameter.zero_()
            elif parameter.shape == narrow[name].shape:
                parameter.copy_(narrow[name])
            else:  # a style: the scale of its weights follows the number of inputs
                parameter.zero_()
                parameter[:, :8] = narrow[name] * math.sqrt((8 + 5) / 8)
        # (start + 0) / sqrt(2) of the dense layer sqrt(2) lrelu(b) is the plain constant.
        constant = narrow["synthesis.constant"].flatten()
        co.start.bias.copy_(torch.where(constant > 0, constant, constant / 0.2))
    for block in plain.synthesis.blocks.values():
        if block.up is not None:
            block.up.register_forward_hook(lambda module, args, output: (output[0] / math.sqrt(2), output[1]))
    images, known, z, noise = inputs(co)
    found = co(images, torch.zeros_like(known), z, noise=noise)
    expected = plain(z, noise=noise)
    assert torch.allclose(found.images, expected.images, atol=1e-10) and found.images.std() > 0.1
    assert torch.equal(found.latents, expected.latents)
    assert not torch.allclose(found.images, co(images, torch.zeros_like(known), z, noise=[n + 1 for n in noise]).images)


def test_known_pixels_keep_their_bits_and_the_hole_depends_on_everything() -> None:
    generator = InpaintingGenerator(config_of(), EncoderConfig(global_dim=5))
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    _, known, z, noise = inputs(generator)
    images = to_signed_float(pixels)
    completed = generator(images, known, z, noise=noise).images
    where, hole = known.expand_as(images) == 1, known.expand_as(images) == 0
    assert torch.equal(completed[where], images[where]) and not torch.isclose(completed[hole], images[hole]).all()
    # What stands in the hole of the input is never seen.
    other = torch.where(hole, torch.rand_like(images), images)
    assert torch.equal(generator(other, known, z, noise=noise).images, completed)
    # A known pixel, the latent, the mask and the noise are.
    changed = images.clone()
    changed[:, :, 0, 0] += 0.5
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(1)
    base = generator(images, torch.where(known > 0.5, 1.0, 0.0), z, noise=noise).images[hole]
    for changes in (
        {"images": changed}, {"z": -z}, {"noise": [-n for n in noise]}, {"dropout": torch.zeros(3, 5)},
    ):  # fmt: skip
        result = generator(**{"images": images, "known": known, "z": z, "noise": noise} | changes).images[hole]
        assert not torch.isclose(result, base).all(), changes.keys()


def test_a_broken_network_leaves_known_pixels_alone() -> None:
    generator = InpaintingGenerator(config_of(), EncoderConfig(global_dim=5))
    images, known, z, noise = inputs(generator)
    with torch.no_grad():
        generator.synthesis.blocks["16x16"].to_rgb.bias.fill_(math.nan)
    completed = generator(images, known, z, noise=noise).images
    where = known.expand_as(images) == 1
    assert torch.equal(completed[where], images[where]) and completed[~where].isnan().all()


@pytest.mark.parametrize("grouped_kernels", ["both", "up"])
def test_kernels_that_group_joined_channels(grouped_kernels: str) -> None:
    """Eq. 1 of a joined channel: the cosine of both kernels concatenated, each a unit-variance weight times its scale."""
    generator = InpaintingGenerator(config_of(), EncoderConfig(global_dim=5, grouped_kernels=grouped_kernels))
    kernels = {layer.name: layer.kernel for layer in generator.grouped_layers()}
    plain = {layer.name: layer.kernel for layer in generator.synthesis.grouped_layers()}
    assert list(kernels) == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"]
    for name, kernel in kernels.items():
        if grouped_kernels == "up" or name.endswith("up"):
            assert kernel is plain[name]
            continue
        resolution = name.split(".")[0]
        up = generator.synthesis.blocks[resolution].up.convolution.weight
        join = generator.encoder.blocks[resolution].conv.weight
        for channel in range(len(kernel)):
            rows = (up[channel].flatten() / math.sqrt(up[0].numel()), join[channel].flatten() / math.sqrt(join[0].numel()))
            assert torch.allclose(kernel[channel], torch.cat(rows))
        loss = generator.grouped_layer(name).grouping.loss(kernel)
        assert loss is not None and loss.similarity.isfinite()


def test_styles_see_both_halves_with_the_global_code() -> None:
    generator = InpaintingGenerator(config_of(), EncoderConfig(global_dim=5))
    latents, code = torch.randn(2, generator.num_latents, 16), torch.randn(2, 5)
    wide = generator.co_modulated(latents, code)
    assert wide.shape == (2, generator.num_latents, 26)
    assert torch.equal(wide[..., :8], latents[..., :8]) and torch.equal(wide[..., 13:21], latents[..., 8:])
    assert torch.equal(wide[:, 3, 8:13], code) and torch.equal(wide[:, 3, 21:], code)


def test_the_discriminator_sees_the_mask() -> None:
    discriminator = InpaintingDiscriminator(DiscriminatorConfig(64, 8), 16, code_dim=6)
    images, known = torch.randn(4, 3, 16, 16), torch.ones(4, 1, 16, 16)
    other = discriminator(images, 1 - known)
    assert not torch.isclose(discriminator(images, known).logits, other.logits).any() and other.codes.shape == (4, 6)
    assert masked_input(images, known)[:, 0].unique() == 0.5 and torch.equal(masked_input(images, known)[:, 1:], images)


def test_l1_is_a_mean_over_each_hole() -> None:
    a, b = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    known = (torch.rand(3, 1, 8, 8) > 0.5).double()
    known[2] = 1  # no hole
    total = 0.0
    for n in range(2):
        differences = [
            abs(float(a[n, c, y, x] - b[n, c, y, x]))
            for c in range(3) for y in range(8) for x in range(8) if known[n, 0, y, x] == 0
        ]  # fmt: skip
        total += sum(differences) / len(differences)
    assert float(hole_l1(a, b, known)) == pytest.approx(total / 3, rel=1e-12)


def reached(loss: Tensor, module: nn.Module) -> set[str]:
    named = list(module.named_parameters())
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True, retain_graph=True)
    return {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}


@pytest.fixture
def system(inpainting_config: Build) -> InpaintingSystem:
    config = inpainting_config("objective.mixing_probability=0")
    built = config.build(resolve_precision(config.training))
    with torch.no_grad():
        for name, parameter in built.generator.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(0.3)
    return built


def shard(system: InpaintingSystem, phase: str, known: Tensor) -> Shard:
    return Shard(Batch(torch.rand(8, 3, 16, 16) * 2 - 1, mask=known), system.randomness.draw(phase, 0, 8))


def test_all_known_gives_no_gradient_to_the_generator(system: InpaintingSystem) -> None:
    everything = torch.ones(8, 1, 16, 16)
    loss, scalars = system.objective.generator_phase(shard(system, "generator", everything))
    assert loss.requires_grad and reached(loss, system.generator) == set() and scalars["loss/hole_l1"] == 0
    everything[:, :, 4:9, 4:9] = 0
    loss, _ = system.objective.generator_phase(shard(system, "generator", everything))
    groupings = {name for name, _ in system.generator.named_parameters() if ".grouping." in name}
    assert groupings
    assert reached(loss, system.generator) == {n for n, _ in system.generator.named_parameters()} - groupings


def test_r1_is_the_gradient_of_the_image_alone(system: InpaintingSystem) -> None:
    known = (torch.rand(8, 1, 16, 16) > 0.5).float()
    part = shard(system, "r1", known)
    _, scalars = system.objective.r1_phase(part)
    images = part.batch.images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(system.discriminator(images, known).logits.sum(), images)
    assert scalars["loss/r1"] == pytest.approx(float(gradient.square().sum() / 8), rel=1e-5)


def test_groups_learn_from_both_kernels_and_nothing_else(system: InpaintingSystem) -> None:
    loss, _ = system.objective.grouping_phase(Shard(None, None))
    assert reached(loss, system.generator) == {n for n, _ in system.generator.named_parameters() if ".grouping." in n}


def test_dropout_is_drawn_and_dealt_out(system: InpaintingSystem) -> None:
    draws = system.randomness.draw("generator", 3, 8)
    assert draws.dropout.shape == (8, 12) and set(draws.dropout.unique().tolist()) == {0.0, 2.0}
    again, other = system.randomness.draw("generator", 3, 8), system.randomness.draw("generator", 4, 8)
    assert torch.equal(again.dropout, draws.dropout) and not torch.equal(other.dropout, draws.dropout)
    part = draws.shard(1, 4)
    assert torch.equal(part.dropout, draws.dropout[1::4]) and torch.equal(part.style.z, draws.style.z[1::4]) and len(part) == 2
    images, known = torch.rand(8, 3, 16, 16), torch.zeros(8, 1, 16, 16)
    whole = system.objective._complete(system.networks, images, known, draws).images
    pieces = [
        system.objective._complete(system.networks, images[s::2], known[s::2], draws.shard(s, 2)).images for s in range(2)
    ]
    assert torch.allclose(torch.stack(pieces, dim=1).flatten(0, 1), whole, atol=1e-5)
