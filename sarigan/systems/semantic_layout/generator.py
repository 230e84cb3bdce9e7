"""The generator of GauGAN (Park et al. 2019): noise or a style becomes an image under SPADE, whose layout says what is where.

Legend: N batch, K channels of the layout, D style_dim, C channels of the last block.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError, require_at_least_1, require_one_of
from sarigan.layers.modulation.spade import NORMS, Spade
from sarigan.layers.normalization import full_precision
from sarigan.layers.spectral_norm import SpectralConv2d, update_spectral_norms
from sarigan.systems.semantic_layout.encoder import StyleEncoder

STYLES = ("none", "encoder", "noise")
SLOPE = 0.2
# Widths of the blocks in units of `channels`, and how many upsamplings there must be for each block to follow one.
WIDTHS = (16, 16, 16, 8, 4, 2, 1)
UPSAMPLED_FROM = (None, 5, 6, 4, 3, 2, 1)
MOST = 7  # upsamplings, the last of which precedes a block of half the width


@dataclass(frozen=True)
class LayoutGeneratorConfig:
    """Sizes of the generator. The release's options: num_upsampling_layers normal | more | most are 5 | 6 | 7."""

    resolution: int = 256  # width of the images, in pixels
    height: int | None = None  # null: as the width
    channels: int = 64  # of the last block (the release's ngf); the first ones have 16 times as many
    num_upsamples: int = 5  # 1 to 7; the first map is the image's size / 2^num_upsamples
    norm: str = "batch"  # under SPADE: batch | synchronised (over all ranks) | instance | none
    spade_hidden: int = 128
    spade_kernel: int = 3
    # What varies between images of one layout. none: nothing | encoder: z of an image encoder, N(0,1) without an image | noise:
    # OASIS's 3D noise, one vector for all positions, joined to the layout in every SPADE (Schonfeld et al. 2021)
    style: str = "encoder"
    style_dim: int = 256  # D: of z; OASIS: 64
    encoder_size: int = 256  # to which the encoder resizes an image; a power of two

    def __post_init__(self) -> None:
        require_one_of(self, "generator.", norm=NORMS, style=STYLES)
        names = ("resolution", "height", "channels", "num_upsamples", "spade_hidden", "style_dim")
        require_at_least_1(self, *names, prefix="generator.")
        if self.num_upsamples > MOST:
            raise InputError(f"generator.num_upsamples must be at most {MOST}, got {self.num_upsamples}")
        if self.spade_kernel not in (1, 3, 5, 7):
            raise InputError(f"generator.spade_kernel must be 1, 3, 5 or 7, got {self.spade_kernel}")
        if self.encoder_size < 8 or self.encoder_size & (self.encoder_size - 1):
            raise InputError(f"generator.encoder_size must be a power of two from 8, got {self.encoder_size}")
        for name, size in (("resolution", self.resolution), ("height", self.size[0])):
            if size % 2**self.num_upsamples:
                raise InputError(
                    f"generator.{name} must be a multiple of 2^num_upsamples = {2**self.num_upsamples}, got {size}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.height or self.resolution, self.resolution


class SpadeBlock(nn.Module):
    """Residual block: (SPADE, lrelu, 3x3) twice, and SPADE with 1x1 on the shortcut where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, layout_channels: int, config: LayoutGeneratorConfig) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)

        def spade(channels: int) -> Spade:
            return Spade(channels, layout_channels, config.norm, config.spade_hidden, config.spade_kernel)

        self.spade0, self.conv0 = spade(in_channels), SpectralConv2d(in_channels, middle, 3)
        self.spade1, self.conv1 = spade(middle), SpectralConv2d(middle, out_channels, 3)
        self.learned_shortcut = in_channels != out_channels
        if self.learned_shortcut:
            self.shortcut_spade = spade(in_channels)
            self.shortcut = SpectralConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        """x [N,I,H,W], layout [N,K,H,W] -> [N,O,H,W]."""
        around = self.shortcut(self.shortcut_spade(x, layout)) if self.learned_shortcut else x
        y = self.conv0(F.leaky_relu(self.spade0(x, layout), SLOPE))
        return around + self.conv1(F.leaky_relu(self.spade1(y, layout), SLOPE))


@dataclass
class LayoutImages:
    """images [N,3,H,W] in -1..1; of an encoded style its mean and log variance [N,D]."""

    images: Tensor
    mean: Tensor | None = None
    log_variance: Tensor | None = None


class LayoutGenerator(nn.Module):
    """Layout channels [N,K,H,W] and a style -> images [N,3,H,W] in -1..1. `encoder` where the style is encoded."""

    def __init__(self, config: LayoutGeneratorConfig, layout_channels: int) -> None:
        super().__init__()
        self.config, self.layout_channels = config, layout_channels
        channels, ups = config.channels, config.num_upsamples
        height, width = (side // 2**ups for side in config.size)
        self.start_size = (16 * channels, height, width)
        joined = layout_channels + (config.style_dim if config.style == "noise" else 0)
        self.start: nn.Module
        if config.style == "encoder":
            self.encoder = StyleEncoder(channels, config.encoder_size, config.style_dim)
            self.start = nn.Linear(config.style_dim, 16 * channels * height * width)
        else:
            self.start = nn.Conv2d(joined, 16 * channels, 3, padding=1)
        widths = [channels * width for width in WIDTHS]
        self.upsamples = [level is not None and ups >= level for level in UPSAMPLED_FROM]
        if ups == MOST:
            widths.append(channels // 2)
            self.upsamples.append(True)
        self.blocks = nn.ModuleList(
            SpadeBlock(i, o, joined, config) for i, o in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.to_rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)
        initialize(self)

    def forward(
        self, layout: Tensor, z: Tensor | None = None, images: Tensor | None = None, noise_map: Tensor | None = None
    ) -> LayoutImages:
        """layout [N,K,H,W].

        style=encoder: z [N,D] ~ N(0,1) is the style; with `images` [N,3,h,w] the style is their mean + deviation * z.
        style=noise: z [N,D] at every position, or `noise_map` [N,D,H,W]. style=none: z is not looked at.
        """
        mean = log_variance = None
        if images is not None and self.config.style == "encoder":
            assert z is not None
            mean, log_variance = self.encoder(images)
            z = mean + (0.5 * log_variance).exp() * z
        if self.config.style == "noise":
            if noise_map is None:
                assert z is not None
                noise_map = z[:, :, None, None].expand(-1, -1, *layout.shape[2:])
            layout = torch.cat([layout, noise_map.to(layout.dtype)], dim=1)
        _, height, width = self.start_size
        if self.config.style == "encoder":
            assert z is not None
            x = self.start(z).view(len(z), *self.start_size)
        else:
            x = self.start(_resized(layout, (height, width)))
        for block, upsampled in zip(self.blocks, self.upsamples, strict=True):
            if upsampled:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, _resized(layout, x.shape[2:]))
        made = torch.tanh(full_precision(self.to_rgb(F.leaky_relu(x, SLOPE))))
        return LayoutImages(made, mean, log_variance)


def _resized(layout: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return layout if layout.shape[2:] == size else F.interpolate(layout, size=tuple(size), mode="nearest")


def initialize(network: nn.Module) -> None:
    """Xavier-normal of gain 0.02 and biases of 0, as in the release; then the singular vectors of the new kernels.

    A network on the device `meta`, which has no numbers, is left alone.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | SpectralConv2d):
            nn.init.xavier_normal_(module.weight, gain=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    update_spectral_norms(network, 15)
