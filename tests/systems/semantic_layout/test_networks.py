"""The networks of GauGAN: published sizes, what reaches what, symmetries, and the losses against slow arithmetic."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.modulation.spade import NORMS, Spade, StatisticsEstimate
from sarigan.losses import translation
from sarigan.systems.semantic_layout.discriminator import LayoutDiscriminator, PatchDiscriminatorConfig
from sarigan.systems.semantic_layout.generator import LayoutGenerator, LayoutGeneratorConfig
from sarigan.systems.semantic_layout.layout import LayoutChannels
from sarigan.systems.semantic_layout.perceptual_loss import WEIGHTS, open_layers, perceptual_loss
from sarigan.systems.system import count_parameters


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def counts(layout_channels: int, settings: dict[str, Any]) -> tuple[int, int]:
    """Parameters of the generator without its encoder, and of the encoder."""
    with torch.device("meta"):
        generator = LayoutGenerator(LayoutGeneratorConfig(**settings), layout_channels)
    encoder = count_parameters(generator.encoder) if generator.config.style == "encoder" else 0
    return count_parameters(generator) - encoder, encoder


@pytest.mark.parametrize(
    ("channels", "settings", "wanted"),
    [
        (36, {"resolution": 512, "height": 256, "num_upsamples": 6, "style": "none"}, (93_048_003, 0)),  # Cityscapes
        (151, {"style": "none"}, (96_492_483, 0)),  # ADE20K
        (184, {"style": "none"}, (97_480_899, 0)),  # COCO-Stuff
        (12, {"style": "none"}, (92_329_155, 0)),
        (12, {}, (109_060_291, 10_463_424)),
        (12, {"style": "none", "channels": 32}, (29_610_211, 0)),
    ],
)
def test_parameters_of_the_generator(channels: int, settings: dict[str, Any], wanted: tuple[int, int]) -> None:
    assert counts(channels, settings) == wanted


def test_narrow_generator_with_a_style() -> None:
    assert counts(12, {"channels": 32})[0] == 37_975_779


@pytest.mark.parametrize(("channels", "width", "wanted"), [(36, 64, 5_601_410), (12, 64, 5_552_258), (12, 32, 1_399_874)])
def test_parameters_of_the_discriminator(channels: int, width: int, wanted: int) -> None:
    with torch.device("meta"):
        assert count_parameters(LayoutDiscriminator(PatchDiscriminatorConfig(width), channels)) == wanted


def test_map_sizes_of_the_discriminator_at_256_px() -> None:
    discriminator = LayoutDiscriminator(PatchDiscriminatorConfig(1), 1)
    found = discriminator(torch.zeros(1, 1, 256, 256), torch.zeros(1, 3, 256, 256))
    assert [[m.shape[-1] for m in maps] for maps in found] == [[129, 65, 33, 34, 35], [65, 33, 17, 18, 19]]
    assert all(maps[-1].shape[1] == 1 for maps in found)


def generator_of(**settings: Any) -> LayoutGenerator:
    sizes = {"resolution": 48, "height": 32, "channels": 2, "num_upsamples": 3, "spade_hidden": 5, "style_dim": 6,
             "encoder_size": 16}  # fmt: skip
    generator = LayoutGenerator(LayoutGeneratorConfig(**sizes | settings), 5).double()
    with torch.no_grad():
        for parameter in generator.parameters():  # the release's gain of 0.02 would hide everything
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(max(1, parameter[0].numel())))
    return generator


def layout_of(n: int = 2) -> Tensor:
    return torch.randint(5, (n, 32, 48))


def channels_of(layout: Tensor) -> Tensor:
    return LayoutChannels(5)(layout, None, torch.float64)


@pytest.mark.parametrize("style", ["none", "encoder", "noise"])
@pytest.mark.parametrize("norm", NORMS)
def test_sizes_that_are_not_square(style: str, norm: str) -> None:
    generator = generator_of(style=style, norm=norm)
    made = generator(channels_of(layout_of()), torch.randn(2, 6).double(), torch.randn(2, 3, 32, 48).double())
    assert made.images.shape == (2, 3, 32, 48) and made.images.abs().max() <= 1 and made.images.std() > 0.01
    assert (made.mean is not None) == (style == "encoder")


@pytest.mark.parametrize("ups", range(1, 8))
def test_every_number_of_upsamplings(ups: int) -> None:
    generator = generator_of(resolution=128, height=128, num_upsamples=ups, style="none")
    assert sum(generator.upsamples) == ups and generator.start_size[1:] == (128 // 2**ups,) * 2
    assert generator(torch.zeros(1, 5, 128, 128).double()).images.shape == (1, 3, 128, 128)


@pytest.mark.parametrize("style", ["none", "encoder", "noise"])
def test_permuted_labels_with_permuted_weights_leave_the_image(style: str) -> None:
    generator, layout, z = generator_of(style=style), layout_of(), torch.randn(2, 6).double()
    before = generator(channels_of(layout), z).images
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        convs = [m.shared for m in generator.modules() if isinstance(m, Spade)]
        for conv in [*convs, *([generator.start] if style != "encoder" else [])]:
            conv.weight[:, order] = conv.weight[:, :5].clone()
    assert torch.allclose(generator(channels_of(order[layout]), z).images, before, atol=1e-12)
    assert not torch.allclose(generator(channels_of(layout), z).images, before, atol=1e-3)


def test_an_edit_changes_nothing_outside_its_receptive_field() -> None:
    """Statistics fixed, one pixel of the layout changed: below, how far 3x3 convolutions carry it on every grid."""
    generator = generator_of(style="encoder", resolution=128, height=128, num_upsamples=2)
    z = torch.randn(1, 6).double()
    layout = torch.randint(5, (1, 128, 128))
    with StatisticsEstimate(generator):
        generator(channels_of(layout), z)
    generator.eval()
    before = generator(channels_of(layout), z).images
    edited = layout.clone()
    edited[:, 64:68, 64:68] = (layout[:, 64:68, 64:68] + 1) % 5
    after = generator(channels_of(edited), z).images
    # Pixels that the edit touches on each grid [low, high), widened block after block.
    low, high = None, None
    for block, up in zip(generator.blocks, generator.upsamples, strict=True):
        if up and low is not None:
            low, high = 2 * low, 2 * high
        size = 32 if low is None and not up else None
        grid = _grid_of(generator, block)
        seen = (64 * grid // 128, -(-68 * grid // 128))
        assert size is None or grid == 32
        # SPADE sees the layout at distance 2; each of the two convolutions sees SPADE's output at distance 1.
        first = (min(low if low is not None else seen[0], seen[0] - 2), max(high if high is not None else seen[1], seen[1] + 2))
        second = (min(first[0] - 1, seen[0] - 2), max(first[1] + 1, seen[1] + 2))
        low, high = second[0] - 1, second[1] + 1
    low, high = low - 1, high + 1  # to RGB
    changed = (after != before).any(dim=1)[0]
    rows, columns = changed.any(dim=1).nonzero()[:, 0], changed.any(dim=0).nonzero()[:, 0]
    for found in (rows, columns):
        assert low <= int(found.min()) and int(found.max()) < high
    assert low > 0 and high < 128, "the test needs something outside"
    assert int(rows.min()) <= 64 and int(rows.max()) >= 67


def _grid_of(generator: LayoutGenerator, wanted: torch.nn.Module) -> int:
    grid = generator.start_size[1]
    for block, up in zip(generator.blocks, generator.upsamples, strict=True):
        grid = 2 * grid if up else grid
        if block is wanted:
            return grid
    raise AssertionError


def test_a_style_is_the_mean_and_deviation_of_its_image() -> None:
    generator, layout = generator_of(style="encoder"), channels_of(layout_of())
    images, z = torch.randn(2, 3, 40, 40).double(), torch.randn(2, 6).double()
    made = generator(layout, z, images)
    style = made.mean + torch.exp(made.log_variance / 2) * z
    assert torch.equal(generator(layout, style).images, made.images)
    assert not torch.allclose(generator(layout, -style).images, made.images, atol=1e-3)


def test_noise_by_position() -> None:
    """A vector at every position is the map that is constant; a map that differs in a region changes the image."""
    generator, layout = generator_of(style="noise"), channels_of(layout_of())
    z = torch.randn(2, 6).double()
    constant = z[:, :, None, None].expand(-1, -1, 32, 48)
    assert torch.equal(generator(layout, z).images, generator(layout, noise_map=constant).images)
    other = constant.clone()
    other[:, :, 20:, 30:] = 0
    assert not torch.allclose(generator(layout, z).images, generator(layout, noise_map=other).images, atol=1e-3)


def test_channels_of_a_layout() -> None:
    layout = torch.tensor([[[0, 2], [1, 2]]])
    edges = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.uint8)
    found = LayoutChannels(3, has_edges=True)(layout, edges, torch.float32)
    assert found.tolist() == [[[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 1]], [[1, 0], [0, 1]]]]
    assert LayoutChannels(3, has_edges=True).count == 4


def test_losses_by_hand() -> None:
    real = [[torch.randn(2, 3, 4, 4), torch.randn(2, 1, 3, 3)], [torch.randn(2, 3, 2, 2), torch.randn(2, 1, 2, 2)]]
    fake = [[torch.randn_like(m) for m in maps] for maps in real]
    hinge = generator = matching = 0.0
    for r, f in zip(real, fake, strict=True):
        hinge += sum(max(0.0, 1 - v) for v in r[1].flatten().tolist()) / r[1].numel()
        hinge += sum(max(0.0, 1 + v) for v in f[1].flatten().tolist()) / f[1].numel()
        generator -= sum(f[1].flatten().tolist()) / f[1].numel()
        matching += float((r[0].double() - f[0].double()).abs().mean())
    assert float(translation.hinge_discriminator_loss(real, fake)) == pytest.approx(hinge / 2, rel=1e-5)
    assert float(translation.hinge_generator_loss(fake)) == pytest.approx(generator / 2, rel=1e-5)
    assert float(translation.feature_matching_loss(real, fake)) == pytest.approx(matching / 2, rel=1e-5)
    mean, log_variance = torch.randn(3, 5), torch.randn(3, 5)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    wanted = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
    assert torch.allclose(translation.kl_divergence(mean, log_variance), wanted, rtol=1e-5)


def test_feature_matching_trains_the_generated_side_alone() -> None:
    real = [[torch.randn(1, 2, 3, 3, requires_grad=True), torch.zeros(1)]]
    fake = [[torch.randn(1, 2, 3, 3, requires_grad=True), torch.zeros(1)]]
    translation.feature_matching_loss(real, fake).backward()
    assert real[0][0].grad is None and fake[0][0].grad is not None


def test_perceptual_loss_by_layers() -> None:
    a, b = (torch.rand(1, 3, 64, 64) * 2 - 1 for _ in range(2))
    layers = open_layers("efficientnet", torch.device("cpu"))
    wanted = sum(w * float((x - y).abs().mean()) for w, x, y in zip(WEIGHTS, layers(a), layers(b), strict=True))
    assert float(perceptual_loss("efficientnet", a, b)) == pytest.approx(wanted, rel=1e-5)
    assert float(perceptual_loss("efficientnet", a, a)) == 0
    a.requires_grad_(True), b.requires_grad_(True)
    perceptual_loss("efficientnet", a, b).backward()
    assert a.grad is not None and a.grad.any() and b.grad is None


def test_the_discriminator_sees_layout_and_image() -> None:
    discriminator = LayoutDiscriminator(PatchDiscriminatorConfig(3), 5)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.copy_(torch.randn_like(parameter))
    layout = F.one_hot(layout_of(), 5).permute(0, 3, 1, 2).float()
    images = torch.randn(2, 3, 32, 48)
    base = discriminator(layout, images)[1][-1]
    assert not torch.allclose(base, discriminator(layout.flip(3), images)[1][-1])
    assert not torch.allclose(base, discriminator(layout, images.flip(3))[1][-1])
