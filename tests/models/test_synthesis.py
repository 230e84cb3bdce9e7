"""The skip synthesis network: structure, indices, and the invariances that groups bring."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.kernel_similarity import kernel_similarity, similarity_quantile
from sarigan.layers.modulation.forms import ActivationModulation
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.models.synthesis import SkipSynthesis

Build = Callable[..., Any]
SMALL = {"resolution": 16, "z_dim": 8, "style_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}


def small(grouping: GroupingConfig | None = None, seed: int = 0, **options: Any) -> Generator:
    torch.manual_seed(seed)
    return Generator(GeneratorConfig(**SMALL, grouping=grouping or GroupingConfig(num_groups=4), **options)).double()


def latents_of(generator: Generator, n: int = 2) -> Tensor:
    shape = (n, generator.num_latents, generator.config.w_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_layers_latents_and_widths_at_1024() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(resolution=1024))
    assert generator.num_latents == 18
    names = [name for name, _ in generator.synthesis.named_layers()]
    assert names[:4] == ["4x4.conv", "8x8.up", "8x8.conv", "16x16.up"] and names[-1] == "1024x1024.conv"
    assert len(names) == 17  # 2 log2 R - 3
    widths = {name: layer.convolution.weight.shape[0] for name, layer in generator.synthesis.named_layers()}
    assert [widths[f"{r}x{r}.conv"] for r in (4, 32, 64, 128, 256, 512, 1024)] == [512, 512, 256, 128, 64, 32, 16]
    assert [layer.name for layer in generator.grouped_layers()] == names[1:]
    assert generator.synthesis.noise_shapes() == [(4, 4)] + [(r, r) for r in (8, 16, 32, 64, 128, 256, 512, 1024) for _ in "12"]


@pytest.mark.parametrize("resolution", [8, 16, 256])
def test_each_layer_takes_the_latent_of_its_index(resolution: int) -> None:
    """4x4.conv 0, first ToRGB 1; at 2^l the up-conv 2l-5, the conv 2l-4, ToRGB 2l-3."""
    config = SMALL | {"resolution": resolution, "channel_base": 4 * resolution, "channel_max": 4}
    generator = Generator(GeneratorConfig(**config, grouping=GroupingConfig(num_groups=2)))
    latents = torch.arange(float(generator.num_latents))[None, :, None].expand(1, -1, generator.config.w_dim)
    seen: dict[str, float] = {}
    for name, block in generator.synthesis.blocks.items():
        for part in ("up", "conv", "to_rgb"):
            layer = getattr(block, part)
            if layer is not None:
                note = lambda module, inputs, key=f"{name}.{part}": seen.update({key: inputs[0][0, 0].item()})  # noqa: E731
                layer.style.register_forward_pre_hook(note)
    generator.synthesize(latents, "none")
    expected = {"4x4.conv": 0, "4x4.to_rgb": 1}
    for level in range(3, resolution.bit_length()):
        r = 2**level
        expected |= {f"{r}x{r}.up": 2 * level - 5, f"{r}x{r}.conv": 2 * level - 4, f"{r}x{r}.to_rgb": 2 * level - 3}
    assert seen == expected


def test_against_a_literal_reimplementation() -> None:
    """Every layer by per-sample weights, noise, bias, leaky ReLU; RGB of all resolutions upsampled and summed."""
    generator = small()
    synthesis: SkipSynthesis = generator.synthesis
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith(("strength", "activation.bias", "to_rgb.bias")):
                parameter.normal_()
    latents = latents_of(generator)
    noise = [torch.randn(2, 1, h, w, dtype=torch.float64) for h, w in synthesis.noise_shapes()]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = torch.outer(taps, taps) * 4

    def modulated(x: Tensor, weight: Tensor, f: Tensor, demodulate: bool, up: bool) -> Tensor:
        samples = []
        for n in range(2):
            w = weight * f[n][:, None, None]
            if demodulate:
                w = w / torch.sqrt(w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:
                y = F.conv_transpose2d(x[n : n + 1], w.transpose(0, 1), stride=2)
                y = F.conv2d(F.pad(y, (1, 1, 1, 1)), kernel.expand(y.shape[1], 1, 4, 4), groups=y.shape[1])
            else:
                y = F.conv2d(x[n : n + 1], w, padding=w.shape[2] // 2)
            samples.append(y)
        return torch.cat(samples)

    def affine(linear: Any, w: Tensor) -> Tensor:
        return w @ linear.weight.T / 8**0.5 + linear.bias

    def scale(layer: Any, latent: Tensor) -> Tensor:
        z = affine(layer.style.z_scale, latent[:, 8:])
        if layer.grouping is None:
            return z
        h, f = affine(layer.style.h_scale, latent[:, :8]), torch.zeros_like(z)
        groups = layer.grouping.logits.argmax(dim=1)
        for i in range(4):
            members = groups == i
            if members.any():
                power = z[:, members].square().sum(dim=1, keepdim=True) / z.shape[1]
                f[:, members] = h[:, i : i + 1] * z[:, members] / torch.sqrt(power + 1e-8)
        return f

    x, image, index, maps = synthesis.constant.expand(2, -1, -1, -1), None, 0, iter(noise)
    for block in synthesis.blocks.values():
        for part in ("up", "conv"):
            layer = getattr(block, part)
            if layer is None:
                continue
            weight = layer.convolution.weight / (layer.convolution.weight.shape[1] * 9) ** 0.5
            x = modulated(x, weight, scale(layer, latents[:, index]), True, part == "up")
            x = x + layer.noise.strength * next(maps) + layer.activation.bias[:, None, None]
            x = F.leaky_relu(x, 0.2) * 2**0.5
            index += 1
        rgb = block.to_rgb
        weight = rgb.convolution.weight / rgb.convolution.weight.shape[1] ** 0.5
        y = modulated(x, weight, affine(rgb.style.z_scale, latents[:, index][:, 8:]), False, False)
        y = y + rgb.bias[:, None, None]
        if image is not None:
            larger = F.pad(torch.zeros(2, 3, 2 * image.shape[2], 2 * image.shape[3], dtype=torch.float64), (2, 1, 2, 1))
            larger[:, :, 2:-1:2, 2:-1:2] = image
            y = y + F.conv2d(larger, kernel.expand(3, 1, 4, 4), groups=3)
        image = y
    torch.testing.assert_close(generator.synthesize(latents, noise).images, image, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", ["weight", "activation"])
def test_biases_and_codes_start_where_they_should(form: str) -> None:
    """Biases of features and of RGB at 0, z at 1, h at 1, or at 1/sqrt(g) in the activation form, in weights and biases."""
    generator = small(GroupingConfig(num_groups=4), form=form).float()
    start = 0.5 if form == "activation" else 1.0
    for name, parameter in generator.synthesis.named_parameters():
        if name.endswith(("rgb.bias", "activation.bias", "noise.strength")):
            assert (parameter == 0).all(), name
        elif name.endswith("z_scale.bias"):
            assert (parameter == 1).all(), name
        elif name.endswith("h_scale.bias"):
            assert (parameter == start).all(), name
    weights = [layer.style.h_scale.weight for _, layer in generator.synthesis.named_layers() if layer.grouping is not None]
    values = torch.cat([weight.detach().flatten() for weight in weights])
    # 128 draws: the deviation's own relative deviation is 1/sqrt(256).
    assert len(values) == 128 and float(values.std()) == pytest.approx(start, rel=4 / 16)


def test_groups_follow_the_kernels_of_the_layer_before() -> None:
    generator = small()
    layers = dict(generator.synthesis.named_layers())
    names = list(layers)
    for grouped in generator.grouped_layers():
        before = layers[names[names.index(grouped.name) - 1]]
        assert grouped.kernel is before.convolution.weight
        assert grouped.kernel.shape[0] == layers[grouped.name].convolution.weight.shape[1] == grouped.grouping.num_channels


def test_a_learned_threshold_starts_at_the_quantile_of_its_kernels() -> None:
    for layer in small(GroupingConfig(num_groups=4, threshold="learned")).grouped_layers():
        similarity = kernel_similarity(layer.kernel)
        expected = similarity_quantile(similarity, 4).clamp(1e-3, 1 - 1e-3)
        torch.testing.assert_close(layer.grouping.threshold(similarity), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["weight", "activation"])
def test_relabelling_groups_leaves_the_image_unchanged(form: str) -> None:
    """Groups have no order: permute h's rows and the logits' columns together."""
    generator = small(form=form)
    latents = latents_of(generator)
    before = generator.synthesize(latents, "none").images
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for _, layer in generator.synthesis.named_layers():
            if layer.grouping is not None:
                layer.style.h_scale.weight.copy_(layer.style.h_scale.weight[order].clone())
                layer.style.h_scale.bias.copy_(layer.style.h_scale.bias[order].clone())
                layer.grouping.logits.copy_(layer.grouping.logits[:, order].clone())
    after = generator.synthesize(latents, "none")
    torch.testing.assert_close(after.images, before, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("code", "factor"), [("z_scale", 2.0), ("h_scale", 3.0)])
def test_scaling_all_of_z_or_h_of_a_grouped_layer_leaves_the_image(code: str, factor: float) -> None:
    """z is normalised inside groups, and demodulation removes the common scale of f."""
    generator = small()
    latents = latents_of(generator)
    before = generator.synthesize(latents, "none").images
    with torch.no_grad():
        for _, layer in generator.synthesis.named_layers():
            if layer.grouping is not None:
                linear = getattr(layer.style, code)
                linear.weight.mul_(factor)
                linear.bias.mul_(factor)
    error = (generator.synthesize(latents, "none").images - before).abs().max() / before.abs().max()
    assert error < 1e-5


def test_scaling_one_group_does_change_the_image() -> None:
    generator = small()
    latents = latents_of(generator)
    before = generator.synthesize(latents, "none")
    layer = dict(generator.synthesis.named_layers())["8x8.up"]
    group = int(before.groups["8x8.up"][0])
    with torch.no_grad():
        layer.style.h_scale.weight[group] *= 3
        layer.style.h_scale.bias[group] *= 3
    assert (generator.synthesize(latents, "none").images - before.images).abs().max() > 1e-3


def test_h_of_an_empty_group_does_not_matter() -> None:
    generator = small()
    latents = latents_of(generator)
    with torch.no_grad():
        for layer in generator.grouped_layers():
            layer.grouping.logits[:, 2] = -100
    before = generator.synthesize(latents, "none").images
    with torch.no_grad():
        for _, layer in generator.synthesis.named_layers():
            if layer.grouping is not None:
                layer.style.h_scale.bias[2] = 1e6
    assert torch.equal(generator.synthesize(latents, "none").images, before)


def test_codes_and_groups_are_part_of_the_output() -> None:
    generator = small(style_biases=True)
    output = generator.synthesize(latents_of(generator), "none")
    assert list(output.codes) == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"]
    for layer in generator.grouped_layers():
        codes = output.codes[layer.name]
        assert codes.z_scale.shape == codes.z_bias.shape == (2, 8) and codes.h_scale.shape == codes.h_bias.shape == (2, 4)
        assert torch.equal(output.groups[layer.name], layer.grouping.logits.argmax(dim=1))


def test_activation_form_of_the_generator_starts_with_unit_features() -> None:
    """Without demodulation the variance is sum_i h_i^2: h of 1/sqrt(g), spread included, keeps it of order one."""
    torch.manual_seed(0)
    config = SMALL | {"channel_base": 512, "channel_max": 64, "z_dim": 64, "style_dim": 64}
    generator = Generator(GeneratorConfig(**config, form="activation", grouping=GroupingConfig(num_groups=16)))
    found = []
    for module in generator.modules():
        if isinstance(module, ActivationModulation):
            module.register_forward_hook(lambda m, i, output: found.append(output[:, :, 2:-2, 2:-2].var().item()))
    generator(torch.randn(16, 64), noise="none")
    assert len(found) == 4 and all(0.5 < variance < 3 for variance in found)


def test_groups_of_narrow_layers() -> None:
    config = SMALL | {"channel_base": 32}  # 8 channels at 8 px, 4 at 16 px
    with pytest.raises(InputError, match=r"num_groups must be at most the 4 channels of layer 16x16\.conv, got 6"):
        Generator(GeneratorConfig(**config, grouping=GroupingConfig(num_groups=6)))
    capped = Generator(GeneratorConfig(**config, grouping=GroupingConfig(num_groups=6, max_group_share=0.5)))
    assert [layer.grouping.num_groups for layer in capped.grouped_layers()] == [4, 4, 4, 2]
