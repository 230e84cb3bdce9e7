"""bfloat16 autocast: features are bfloat16; mapping, codes, scales, demodulation, groups, RGB and losses are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.kernel_similarity import block_diagonal_loss
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.modulation.forms import WeightModulation
from sarigan.layers.modulation.group_adagn import group_adagn
from sarigan.layers.modulation.group_adain import group_adain
from sarigan.layers.style import StyleCodes
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator
from sarigan.models.synthesis import ToRGB

Build = Callable[..., Any]
CHANNELS, GROUPS = 24, 5


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def codes(biases: bool, dtype: torch.dtype = torch.float32) -> StyleCodes:
    source = torch.Generator().manual_seed(0)
    draw = lambda size: torch.randn(4, size, generator=source, dtype=torch.float64).to(dtype)  # noqa: E731
    membership = F.one_hot(torch.arange(CHANNELS) % GROUPS, GROUPS).to(dtype)
    z, h, z_bias, h_bias = draw(CHANNELS), draw(GROUPS), draw(CHANNELS), draw(GROUPS)
    return StyleCodes(z, h, z_bias if biases else None, h_bias if biases else None, membership)


class Recorder(nn.Module):
    """Stands for a convolution: notes what it is given and returns it."""

    def __init__(self, convolution: EqualizedConv2d) -> None:
        super().__init__()
        self.weight, self.scale = convolution.weight, convolution.scale

    def forward(self, x: Tensor, scaled: bool = True) -> Tensor:
        self.seen, self.scaled = x, scaled
        return torch.ones(x.shape[0], self.weight.shape[0], *x.shape[2:])


@pytest.mark.parametrize("biases", [False, True])
def test_scale_and_demodulation_are_full_precision(biases: bool) -> None:
    """Matrix products of codes would be rounded to 8 bits if autocast saw them."""
    torch.manual_seed(0)
    convolution = EqualizedConv2d(CHANNELS, 6, 3)
    recorder = Recorder(convolution)
    with bfloat16():
        y = WeightModulation()(torch.ones(4, CHANNELS, 2, 2), codes(biases), recorder)
    exact = codes(biases, torch.float64)
    f, a = channel_affine(exact)
    assert not recorder.scaled  # the factor is in x
    torch.testing.assert_close(recorder.seen[:, :, 0, 0].double(), f * convolution.scale, rtol=1e-5, atol=1e-6)
    weight = convolution.weight.detach().double() * convolution.scale
    d = 1 / (f.square() @ weight.square().sum(dim=(2, 3)).t()).sqrt()
    expected = d if a is None else d + d * (a @ weight.sum(dim=(2, 3)).t())
    torch.testing.assert_close(y[:, :, 0, 0].detach().double(), expected, rtol=1e-5, atol=1e-5)


def test_group_statistics_of_the_activation_form_are_full_precision() -> None:
    from sarigan.layers.modulation.forms import ActivationModulation

    x = torch.randn(4, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    recorder = Recorder(EqualizedConv2d(CHANNELS, 6, 3))
    with bfloat16():
        ActivationModulation()(x, codes(True), recorder)
    c = codes(True, torch.float64)
    expected = group_adagn(group_adain(x.double(), c.z_scale, c.z_bias), c.membership, c.h_scale, c.h_bias)
    torch.testing.assert_close(recorder.seen.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def generator(tiny_config: Build) -> Generator:
    torch.manual_seed(0)
    return Generator(tiny_config("generator.style_biases=true").generator)


def test_types_through_the_generator(generator: Generator) -> None:
    """Latents, codes, groups and images float32; what convolutions compute bfloat16."""
    seen: dict[str, set[torch.dtype]] = {}
    for name, module in generator.named_modules():
        if isinstance(module, EqualizedConv2d):
            kind = "rgb" if "to_rgb" in name else "features"
            module.register_forward_hook(lambda m, i, output, kind=kind: seen.setdefault(kind, set()).add(output.dtype))
        if isinstance(module, ToRGB):
            module.register_forward_hook(lambda m, i, output: seen.setdefault("image", set()).add(output.dtype))
    with bfloat16():
        output = generator(torch.randn(2, 8))
    assert seen == {"features": {torch.bfloat16}, "rgb": {torch.bfloat16}, "image": {torch.float32}}
    assert output.images.dtype == output.latents.dtype == torch.float32
    for code in output.codes.values():
        for part in (code.z_scale, code.h_scale, code.z_bias, code.h_bias, code.membership):
            assert part.dtype == torch.float32


def test_latents_and_codes_do_not_change_under_autocast(generator: Generator) -> None:
    z = torch.randn(2, 8)
    plain = generator(z, noise="none")
    with bfloat16():
        cast = generator(z, noise="none")
    assert torch.equal(plain.latents, cast.latents)
    for name, code in plain.codes.items():
        assert torch.equal(code.z_scale, cast.codes[name].z_scale) and torch.equal(code.h_scale, cast.codes[name].h_scale)
    error = (plain.images - cast.images).square().mean().sqrt() / plain.images.square().mean().sqrt()
    assert 0 < error < 0.05


def test_sum_of_skip_images_is_full_precision(tiny_config: Build) -> None:
    """Every resolution's RGB is upsampled and added in float32: the constant 1 + 2^-10 survives the pyramid."""
    generator = Generator(tiny_config("generator.resolution=16").generator)
    synthesis = generator.synthesis
    with torch.no_grad():
        for block in synthesis.blocks.values():
            block.to_rgb.convolution.weight.zero_()
            block.to_rgb.bias.fill_(0.0)
        synthesis.blocks["4x4"].to_rgb.bias.fill_(1 + 2**-10)
    with bfloat16():
        images = generator(torch.randn(1, 8)).images
    torch.testing.assert_close(images[:, :, 6:10, 6:10], torch.full((1, 3, 4, 4), 1 + 2**-10), rtol=1e-6, atol=0)


def test_discriminator_ends_in_float32_under_float16(tiny_config: Build) -> None:
    """Blocks in float16; the last convolution, on features without a bound, and the dense layers in float32."""
    config = tiny_config()
    torch.manual_seed(0)
    discriminator = Discriminator(config.discriminator, 8, 6)
    seen: dict[str, torch.dtype] = {}
    for name, module in discriminator.named_modules():
        if isinstance(module, EqualizedConv2d):
            module.register_forward_hook(lambda m, i, output, name=name: seen.update({name: output.dtype}))
    with torch.autocast("cpu", dtype=torch.float16):
        output = discriminator(torch.randn(4, 3, 8, 8))
    assert seen.pop("conv") == output.logits.dtype == output.codes.dtype == torch.float32
    assert set(seen.values()) == {torch.float16}


def test_block_diagonal_loss_is_full_precision() -> None:
    """Cosines of bfloat16 would be off by 2^-9."""
    kernel = torch.randn(CHANNELS, 6, 3, 3, generator=torch.Generator().manual_seed(2))
    groups = torch.arange(CHANNELS) // 2
    with bfloat16():
        found = block_diagonal_loss(kernel, groups)
    expected = block_diagonal_loss(kernel.double(), groups)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_adain_generator_and_discriminator_return_float32(tiny_config: Build, tiny_state: Build) -> None:
    state = tiny_state(tiny_config("generator.synthesis=adain", "generator.grouping.kind=none", "training.precision=bfloat16"))
    with bfloat16():
        output = state.system.generator(torch.randn(4, 8))
        scores = state.system.discriminator(output.images)
    assert output.images.dtype == output.latents.dtype == torch.float32
    assert scores.logits.dtype == scores.codes.dtype == torch.float32


def test_a_step_in_bfloat16_is_finite_and_its_losses_are_float32(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = tiny_trainer(tiny_config("training.precision=bfloat16", "training.total_kimg=0.008"))
    assert trainer.system.objective.autocast_dtype == torch.bfloat16
    found: dict[str, torch.dtype] = {}
    for phase in trainer.phases:

        def recorded(shard: Any, loss: Any = phase.loss, name: str = phase.name) -> Any:
            value, scalars = loss(shard)
            found[name] = value.dtype
            assert all(scalar.dtype == torch.float32 for scalar in scalars.values())
            return value, scalars

        phase.loss = recorded
    trainer.run()
    trainer.check_finite()
    assert found == dict.fromkeys(("discriminator", "r1", "generator", "path_length", "grouping"), torch.float32)
    parameters = [*trainer.system.generator.parameters(), *trainer.system.discriminator.parameters()]
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in parameters)
