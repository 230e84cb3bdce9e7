"""BigGAN's networks: sizes of the published code, the projection and a block against their formulas, codes, statistics."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.layers.intervention import ChannelEdit, Intervention
from sarigan.layers.modulation.class_conditional_norm import batch_norms
from sarigan.layers.spectral_norm import update_spectral_norms
from sarigan.models.class_conditional_discriminator import ClassConditionalDiscriminator, ClassConditionalDiscriminatorConfig
from sarigan.models.class_conditional_generator import ClassConditionalGenerator, ClassConditionalGeneratorConfig
from sarigan.models.generator import LatentMixing
from sarigan.systems.system import count_parameters

TINY: dict[str, Any] = {
    "resolution": 16, "z_dim": 6, "channels": 4, "multipliers": [2, 2, 1], "class_dim": 5, "attention_resolution": 8,
    "standing_batches": 3, "standing_batch_size": 8,
}  # fmt: skip


def classes(count: int) -> dict[str, Any]:
    return {"class_names": [f"c{index}" for index in range(count)], "class_shares": [1 / count] * count}


def tiny(**changes: Any) -> ClassConditionalGenerator:
    return ClassConditionalGenerator(ClassConditionalGeneratorConfig(**{**TINY, **classes(3), **changes}))


# ch 64 of BigGAN-PyTorch's CIFAR script, StudioGAN's CIFAR configuration, BigGAN-PyTorch at 128 px.
SIZES = {
    "cifar": ({"resolution": 32, "z_dim": 128, "channels": 64, "class_dim": 0, "hierarchical": False,
               "attention_resolution": 0},
              {"channels": 64, "attention_resolution": 0}, 10, 4_304_387, 4_207_361),
    "studiogan": ({"resolution": 32, "z_dim": 80, "attention_resolution": 16},
                  {"multipliers": [2] * 4, "downsamplings": 2, "attention_resolution": 16}, 10, 9_416_196, 2_415_170),
    "imagenet": ({}, {}, 1000, 70_433_988, 87_982_370),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_parameter_counts_of_the_published_code(name: str) -> None:
    generator, discriminator, count, expected_g, expected_d = SIZES[name]
    with torch.device("meta"):
        config = ClassConditionalGeneratorConfig(**generator, **classes(count))
        g = ClassConditionalGenerator(config)
        d = ClassConditionalDiscriminator(ClassConditionalDiscriminatorConfig(**discriminator), config.resolution, count)
    assert (count_parameters(g), count_parameters(d)) == (expected_g, expected_d)


def normalized(layer: nn.Module) -> Tensor:
    return layer.weight.detach() / torch.linalg.svdvals(layer.weight.detach().flatten(start_dim=1))[0]


def test_the_projection_discriminator_is_its_formula() -> None:
    """Whole network with plain convolutions: pooling after the 1x1 convolution, logit = w.h + b + <e(y), h>, h a sum."""
    config = ClassConditionalDiscriminatorConfig(4, [1, 2, 2], 2, attention_resolution=0, initialization="normal")
    network = ClassConditionalDiscriminator(config, 8, 3).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    update_spectral_norms(network, 1000)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    labels = torch.tensor([2, 0, 1, 2])
    found = network(x, labels).detach()
    for index, block in enumerate(network.blocks):
        y = x if index == 0 else F.relu(x)
        y = F.conv2d(y, normalized(block.conv), block.conv.bias, padding=1)
        y = F.conv2d(F.relu(y), normalized(block.conv2), block.conv2.bias, padding=1)
        short = x if block.skip is None else F.conv2d(x, normalized(block.skip), block.skip.bias)
        x = y + short
        x = F.avg_pool2d(x, 2) if index < 2 else x
    assert [block.skip is None for block in network.blocks] == [False, False, True]
    h = F.relu(x).sum(dim=(2, 3))
    embedding, head = normalized(network.embedding), normalized(network.head)[0]
    expected = torch.stack(
        [sum((head[c] + embedding[label, c]) * row[c] for c in range(8)) for row, label in zip(h, labels, strict=True)]
    )
    torch.testing.assert_close(found, (expected + network.head.bias).detach(), rtol=1e-6, atol=1e-6)


def test_a_block_of_the_generator_is_its_formula() -> None:
    """CCBN, ReLU, nearest up, conv3, CCBN, ReLU, conv3, plus conv1 of the upsampled input."""
    generator = tiny(attention_resolution=0).double()
    (_, block), _ = generator.synthesis.named_blocks()
    x, code = torch.randn(5, 8, 4, 4, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    y, _ = block.up(x, code)
    y, _ = block.conv(y, code)

    def norm(layer: Any, features: Tensor) -> Tensor:
        gain = 1 + code @ layer.norm.gain.spectral(layer.norm.gain.weight).t()
        bias = code @ layer.norm.bias.spectral(layer.norm.bias.weight).t()
        plain = F.batch_norm(features, None, None, training=True, eps=1e-5)
        return F.relu(plain * gain[:, :, None, None] + bias[:, :, None, None])

    def conv(layer: Any, features: Tensor) -> Tensor:
        weight = layer.convolution.spectral(layer.convolution.weight)
        return F.conv2d(features, weight, layer.convolution.bias, padding=1)

    expected = conv(block.up, norm(block.up, x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    expected = conv(block.conv, norm(block.conv, expected))
    torch.testing.assert_close(y, expected)
    up = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    short = F.conv2d(up, block.skip.spectral(block.skip.weight), block.skip.bias)
    torch.testing.assert_close(block.skip(x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), short)


@pytest.mark.parametrize("changes", [{}, {"hierarchical": False}])
def test_the_generator_is_its_blocks_with_their_shortcuts(changes: dict[str, Any]) -> None:
    """4x4 features of the first chunk of z; then layers plus the 1x1 convolution of the upsampled input; attention at 8 px."""
    generator = tiny(**changes).double().eval()
    z, labels = torch.randn(3, 6, dtype=torch.float64), torch.tensor([0, 2, 1])
    network = generator.synthesis
    shared, chunks = generator.mapping.codes(labels, z.dtype), z.chunk(3, dim=1) if not changes else (z, z[:, :0], z[:, :0])
    x = network.start(chunks[0]).reshape(3, 8, 4, 4)
    for (_, block), chunk in zip(network.named_blocks(), chunks[1:], strict=True):
        code = torch.cat([shared, chunk], dim=1)
        inside = block.conv(block.up(x, code)[0], code)[0]
        x = inside + block.skip(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        x = x if block.attention is None else block.attention(x)
    expected = torch.tanh(network.to_rgb(F.relu(network.last_norm(x))))
    torch.testing.assert_close(network(generator.latents(z, labels=labels)).images, expected)


@pytest.mark.parametrize("changes", [{}, {"class_dim": 0, "hierarchical": False}, {"hierarchical": False}])
def test_codes_depend_on_the_class_and_on_the_chunk_of_their_block(changes: dict[str, Any]) -> None:
    generator = tiny(**changes)
    config = generator.config
    z, labels = torch.randn(2, 6), torch.tensor([0, 2])
    latents = generator.latents(z, labels=labels)
    assert latents.shape == (2, 3, config.w_dim) and config.w_dim == (config.class_dim or 3) + 6
    codes = generator.synthesis.layer_codes(latents)
    assert list(codes) == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"]
    output = generator(z, labels=labels)
    for name, code in output.codes.items():
        assert torch.equal(code.z_scale, codes[name].z_scale) and torch.equal(code.z_bias, codes[name].z_bias)
    if not config.hierarchical and not config.class_dim:  # a row of the layer's table, plus 1
        layer = dict(generator.synthesis.named_layers())["8x8.conv"]
        torch.testing.assert_close(codes["8x8.conv"].z_scale, 1 + layer.norm.gain.weight.t()[labels])
    other = z.clone()
    other[:, 2:4] += 1  # the chunk of the first block
    moved = generator.synthesis.layer_codes(generator.latents(other, labels=labels))
    same = {name: torch.equal(moved[name].z_scale, codes[name].z_scale) for name in codes}
    assert same == {name: not (config.hierarchical and name.startswith("8x8")) for name in codes}
    swapped = generator.synthesis.layer_codes(generator.latents(z, labels=labels.flip(0)))
    assert not any(torch.equal(swapped[name].z_bias, codes[name].z_bias) for name in codes)


def test_latents_mix_truncate_and_edit() -> None:
    generator = tiny()
    generator.refresh()
    generator.eval()
    z, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    latents = generator.latents(z, labels=labels)
    truncated = generator.truncate(latents, 0.25)
    torch.testing.assert_close(truncated[..., 5:], 0.25 * latents[..., 5:])
    torch.testing.assert_close(truncated[..., :5], latents[..., :5])  # the class stays
    assert torch.equal(generator.truncate(latents, 0.25, 1)[:, 1:], latents[:, 1:])
    mixed = generator.latents(z, LatentMixing(z.flip(0), "layers", 2), labels)
    assert torch.equal(mixed[:, :2], latents[:, :2]) and torch.equal(mixed[:, 2:, 5:], latents.flip(0)[:, 2:, 5:])
    plain = generator(z, labels=labels).images
    edited = generator(z, labels=labels, interventions=[ChannelEdit("16x16.up", 3, "scale", 5.0)]).images
    assert not torch.allclose(plain, edited)
    with pytest.raises(InputError, match="no layer '4x4.conv': the layers are 8x8.up, 8x8.conv, 16x16.up, 16x16.conv"):
        generator(z, labels=labels, interventions=[ChannelEdit("4x4.conv", 3, "scale", 5.0)])
    with pytest.raises(InputError, match="this generator has no groups"):
        generator(z, labels=labels, interventions=[Intervention("8x8.up", 0, "z", "scale", 5.0)])
    with pytest.raises(InputError, match="it needs labels"):
        generator(z)
    expected = torch.cat([generator.mapping.embedding.weight.mean(dim=0), torch.zeros(6)])
    torch.testing.assert_close(generator.mean_latent, expected)


def test_features_after_the_relu_are_replaced_by_a_hook() -> None:
    generator = tiny()
    generator.refresh()
    generator.eval()
    z, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    layer, seen = dict(generator.synthesis.named_layers())["8x8.conv"], []
    handle = layer.activation.register_forward_hook(lambda module, inputs, output: seen.append(output) or 0 * output)
    images = generator(z, labels=labels).images
    handle.remove()
    assert (
        seen[0].shape == (4, 8, 8, 8) and seen[0].min() == 0 and not torch.allclose(images, generator(z, labels=labels).images)
    )


def test_standing_statistics_are_the_mean_over_batches_and_images_do_not_depend_on_those_beside_them() -> None:
    generator = tiny().double()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    seen: list[Tensor] = []
    norm = generator.synthesis.last_norm.norm
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    generator.eval()
    generator.set_test_statistics()
    handle.remove()
    assert len(seen) == 3 and all(len(x) == 8 for x in seen)
    torch.testing.assert_close(norm.test_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0))
    torch.testing.assert_close(norm.test_var, torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0))
    changed = {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "test_" in name}
    z, labels = torch.randn(7, 6, dtype=torch.float64), torch.arange(7) % 3
    together = generator(z, labels=labels).images
    alone = torch.cat([generator(z[i : i + 1], labels=labels[i : i + 1]).images for i in range(7)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)
    first = norm.test_mean.clone()
    generator.set_test_statistics()
    assert torch.equal(norm.test_mean, first)
    generator.train()
    assert not torch.allclose(generator(z[:2], labels=labels[:2]).images, together[:2])  # those of the batch


def test_without_standing_batches_the_running_statistics_are_used() -> None:
    generator = tiny(standing_batches=0)
    generator(torch.randn(8, 6), labels=torch.arange(8) % 3)
    generator.set_test_statistics()
    for norm in batch_norms(generator):
        assert torch.equal(norm.test_mean, norm.running_mean) and torch.equal(norm.test_var, norm.running_var)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z_dim": 7}, "generator.z_dim must be a multiple of 3 at 16 px, one chunk for .*, got 7"),
        ({"multipliers": [1, 2]}, r"generator.multipliers must be 3 numbers from 1 to 1024, got \[1, 2\]"),
        ({"multipliers": [1, 2, 0]}, r"generator.multipliers must be 3 numbers from 1 to 1024, got \[1, 2, 0\]"),
        ({"multipliers": []}, "generator.multipliers must be given at 16 px; those of 32, 64, 128 px are known"),
        ({"resolution": 20}, "generator.resolution must be a power of two from 8 to 1024, got 20"),
        ({"class_dim": 0}, "generator.hierarchical needs a shared embedding, got generator.class_dim=0"),
        ({"class_dim": -1}, "generator.class_dim must be at least 0, got -1"),
        ({"attention_resolution": 64}, r"generator.attention_resolution must be 0 .* a block's resolution \(8, 16\), got 64"),
        ({"initialization": "xavier"}, "generator.initialization must be one of orthogonal, normal, got 'xavier'"),
        ({"channels": 0}, "generator.channels must be at least 1, got 0"),
        ({"standing_batch_size": 0}, "generator.standing_batch_size must be at least 1, got 0"),
        ({"class_shares": [1.0]}, "generator.class_shares must be one number a class, got 1 for 3 classes"),
    ],
)  # fmt: skip
def test_generators_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multipliers": [1, 2]}, "discriminator.downsamplings must be from 1 to the 2 blocks of discriminator.multipliers"),
        ({"downsamplings": 2}, "discriminator.downsamplings must be from 1 to the 0 blocks"),
        ({"multipliers": [0], "downsamplings": 1}, r"discriminator.multipliers must be at most 32 numbers .*, got \[0\]"),
        ({"multipliers": [1] * 5, "downsamplings": 5}, "discriminator.downsamplings must leave a pixel of 16 px, got 5"),
        ({}, "discriminator.multipliers must be given at 16 px; those of 32, 64, 128 px are known"),
        ({"multipliers": [1, 1], "downsamplings": 1}, r"attention_resolution must be 0 .* a block's resolution \(8\), got 64"),
        ({"multipliers": [1] * 4, "downsamplings": 4, "attention_resolution": 1}, r"a block's resolution \(8, 4, 2\), got 1"),
    ],
)  # fmt: skip
def test_discriminators_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassConditionalDiscriminatorConfig(**changes).blocks(16)
