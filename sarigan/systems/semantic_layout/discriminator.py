"""The discriminator of GauGAN: patches of layout and image together, at several scales (Wang et al. 2018, pix2pixHD)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import require_at_least_1, require_at_most
from sarigan.layers.spectral_norm import SpectralConv2d
from sarigan.systems.semantic_layout.generator import SLOPE, initialize

MAX_WIDTH = 8  # in units of `channels`
KERNEL, PADDING = 4, 2


@dataclass(frozen=True)
class PatchDiscriminatorConfig:
    """Sizes of the discriminator."""

    channels: int = 64  # of the first convolution (the release's ndf)
    num_scales: int = 2  # the image, and so many - 1 times halved
    num_layers: int = 4  # convolutions before the one that gives the logits; the last of them does not halve

    def __post_init__(self) -> None:
        require_at_least_1(self, "channels", "num_scales", prefix="discriminator.")
        require_at_least_1(self, "num_layers", prefix="discriminator.")
        require_at_most("discriminator", self, num_scales=6, num_layers=10)


class PatchDiscriminator(nn.Module):
    """[N,C,H,W] -> the feature maps of every layer, the last of which holds the logits [N,1,h,w]."""

    def __init__(self, in_channels: int, config: PatchDiscriminatorConfig) -> None:
        super().__init__()
        widths = [config.channels * min(2**index, MAX_WIDTH) for index in range(config.num_layers)]
        last = config.num_layers - 1
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], KERNEL, stride=2, padding=PADDING)]
        for index in range(1, config.num_layers):
            stride = 1 if index == last else 2
            layers.append(SpectralConv2d(widths[index - 1], widths[index], KERNEL, stride=stride, padding=PADDING, bias=False))
        self.layers = nn.ModuleList(layers)
        self.to_logits = nn.Conv2d(widths[-1], 1, KERNEL, padding=PADDING)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            x = F.leaky_relu(x if index == 0 else F.instance_norm(x), SLOPE)
            maps.append(x)
        return [*maps, self.to_logits(x)]


class LayoutDiscriminator(nn.Module):
    """Layout channels [N,K,H,W] and images [N,3,H,W] -> for every scale the maps of a `PatchDiscriminator`."""

    def __init__(self, config: PatchDiscriminatorConfig, layout_channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(layout_channels + 3, config) for _ in range(config.num_scales))
        initialize(self)

    def forward(self, layout: Tensor, images: Tensor) -> list[list[Tensor]]:
        x = torch.cat([layout, images.to(layout.dtype)], dim=1)
        found = []
        for index, scale in enumerate(self.scales):
            if index:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            found.append(scale(x))
        return found
