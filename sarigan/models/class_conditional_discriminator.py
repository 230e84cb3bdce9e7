"""BigGAN's discriminator (Brock et al. 2019, appendix B) with the projection of Miyato & Koyama 2018.

logit = w.h + b + <e(y), h>, h = sum over pixels of ReLU(features). All weights are spectrally normalised.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.layers.normalization import full_precision
from sarigan.layers.self_attention import SelfAttention, check_attention
from sarigan.layers.spectral_norm import INITIALIZATIONS, SpectralConv2d, SpectralEmbedding, SpectralLinear, initialize_weights

# Of every block's output, times `channels`, and how many blocks, from the first, halve the size (BigGAN-PyTorch).
BLOCKS = {32: ([4, 4, 4, 4], 2), 64: ([1, 2, 4, 8, 16], 4), 128: ([1, 2, 4, 8, 16, 16], 5)}


@dataclass(frozen=True)
class ClassConditionalDiscriminatorConfig:
    """Defaults are BigGAN's widths. The resolution is the generator's."""

    channels: int = 96
    multipliers: list[int] = field(default_factory=list)  # of every block; empty: those of BigGAN
    downsamplings: int = 0  # so many blocks, from the first, halve the size; goes with multipliers
    attention_resolution: int = 64  # after the first block whose output has it; 0: none
    initialization: str = "orthogonal"  # orthogonal | normal

    def __post_init__(self) -> None:
        require_at_least_1(self, "channels", prefix="discriminator.")
        require_at_most("discriminator", self, channels=4096, downsamplings=8)
        require_one_of(self, "discriminator.", initialization=INITIALIZATIONS)
        if not all(1 <= value <= 1024 for value in self.multipliers) or len(self.multipliers) > 32:
            raise InputError(f"discriminator.multipliers must be at most 32 numbers from 1 to 1024, got {self.multipliers}")
        if bool(self.multipliers) != bool(self.downsamplings) or not 0 <= self.downsamplings <= len(self.multipliers):
            raise InputError(
                f"discriminator.downsamplings must be from 1 to the {len(self.multipliers)} blocks of discriminator.multipliers"
                f" (0 where those are empty), got {self.downsamplings}"
            )

    def blocks(self, resolution: int) -> tuple[list[int], int]:
        """Channels of every block's output, and how many of them halve the size; InputError when it makes no network."""
        if not self.multipliers and resolution not in BLOCKS:
            known = ", ".join(map(str, BLOCKS))
            raise InputError(f"discriminator.multipliers must be given at {resolution} px; those of {known} px are known")
        multipliers, halvings = (self.multipliers, self.downsamplings) if self.multipliers else BLOCKS[resolution]
        if resolution >> halvings < 1:
            raise InputError(f"discriminator.downsamplings must leave a pixel of {resolution} px, got {halvings}")
        check_attention("discriminator", self.attention_resolution, resolutions_of(resolution, len(multipliers), halvings))
        return [self.channels * multiplier for multiplier in multipliers], halvings


def resolutions_of(resolution: int, num_blocks: int, halvings: int) -> list[int]:
    """Of every block's output."""
    return [resolution >> min(index, halvings) for index in range(1, num_blocks + 1)]


class DownBlock(nn.Module):
    """ReLU, conv3, ReLU, conv3, mean of 2x2 pixels where `down`, plus a 1x1 convolution where channels or size change.

    The first block has no ReLU before its first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, down: bool, is_first: bool) -> None:
        super().__init__()
        self.is_first, self.down = is_first, down
        self.conv = SpectralConv2d(in_channels, out_channels, 3)
        self.conv2 = SpectralConv2d(out_channels, out_channels, 3)
        self.skip = SpectralConv2d(in_channels, out_channels, 1) if down or in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv(x if self.is_first else F.relu(x))))
        if self.down:
            # A 1x1 convolution of means is the mean of 1x1 convolutions.
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        return y + (x if self.skip is None else self.skip(x))


class ClassConditionalDiscriminator(nn.Module):
    """images [N,3,R,R], labels [N] -> logits [N], positive means real."""

    def __init__(self, config: ClassConditionalDiscriminatorConfig, resolution: int, num_classes: int) -> None:
        super().__init__()
        widths, halvings = config.blocks(resolution)
        resolutions = resolutions_of(resolution, len(widths), halvings)
        attends = resolutions.index(config.attention_resolution) if config.attention_resolution else -1
        self.blocks = nn.ModuleList()
        for index, (i, o) in enumerate(zip([3, *widths[:-1]], widths, strict=True)):
            self.blocks.append(DownBlock(i, o, down=index < halvings, is_first=index == 0))
            if index == attends:
                self.blocks.append(SelfAttention(o))
        self.head = SpectralLinear(widths[-1], 1)
        self.embedding = SpectralEmbedding(num_classes, widths[-1])
        initialize_weights(self, config.initialization)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        x = images
        for block in self.blocks:
            x = block(x)
        with torch.autocast(images.device.type, enabled=False):
            features = F.relu(full_precision(x)).sum(dim=(2, 3))
            return self.head(features).squeeze(1) + (self.embedding(labels) * features).sum(dim=1)
