"""The encoder of what is known (Zhao et al. 2021, "Large Scale Image Completion via Co-Modulated GANs", their code).

SariGAN says no more than "an encoder" (sec. 4.3). This one has the widths of the synthesis network: at every resolution a 3x3
convolution, whose features E join the synthesis there, and one that halves the size; a convolution at 4x4; a global code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.layers.activation import BiasLeakyReLU
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision
from sarigan.models.synthesis import block_resolutions, channels_at


@dataclass(frozen=True)
class EncoderConfig:
    """Defaults are CoModGAN's. Widths and resolution are the generator's."""

    global_dim: int = 1024  # of the code that joins w in every style
    dropout: float = 0.5  # of the global code, in training alone; 0: none
    # Kernels that group the channels which encoder features join: both (their own and the encoder's) | up (their own)
    grouped_kernels: str = "both"

    def __post_init__(self) -> None:
        require_at_least_1(self, "global_dim", prefix="encoder.")
        require_at_most("encoder", self, global_dim=16_384)
        require_one_of(self, "encoder.", grouped_kernels=("both", "up"))
        if not 0 <= self.dropout < 1:
            raise InputError(f"encoder.dropout must be in [0, 1), got {self.dropout}")


def masked_input(images: Tensor, known: Tensor) -> Tensor:
    """[known - 1/2, images]: [N,3,R,R] and [N,1,R,R] -> [N,4,R,R]."""
    return torch.cat([known - 0.5, images], dim=1)


class EncoderBlock(nn.Module):
    """x [N,c,H,W] -> features [N,c,H,W], and [N,c',H/2,W/2] for the next block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, in_channels, 3)
        self.activation = BiasLeakyReLU(in_channels)
        self.down = EqualizedConv2d(in_channels, out_channels, 3, down=True)
        self.down_activation = BiasLeakyReLU(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.activation(self.conv(x))
        return features, self.down_activation(self.down(features))


class Encoder(nn.Module):
    """images [N,3,R,R], known [N,1,R,R] -> the global code [N,global_dim], features by resolution (`4x4`, ..., `RxR`).

    It sees nothing of the images where they are not known.
    """

    def __init__(self, resolution: int, channel_base: int, channel_max: int, global_dim: int) -> None:
        super().__init__()
        resolutions = block_resolutions(resolution)[::-1]
        widths = [channels_at(r, channel_base, channel_max) for r in resolutions]
        self.from_rgb = EqualizedConv2d(4, widths[0], 1)
        self.from_rgb_activation = BiasLeakyReLU(widths[0])
        self.blocks = nn.ModuleDict(
            {f"{r}x{r}": EncoderBlock(i, o) for r, i, o in zip(resolutions[:-1], widths[:-1], widths[1:], strict=True)}
        )
        self.conv = EqualizedConv2d(widths[-1], widths[-1], 3)
        self.activation = BiasLeakyReLU(widths[-1])
        self.dense = EqualizedLinear(widths[-1] * 4 * 4, global_dim, activation="leaky_relu")

    def forward(self, images: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.from_rgb_activation(self.from_rgb(masked_input(images * known, known)))
        features = {}
        for name, block in self.blocks.items():
            features[name], x = block(x)
        features["4x4"] = self.activation(self.conv(x))
        with torch.autocast(images.device.type, enabled=False):
            code = self.dense(full_precision(features["4x4"]).flatten(start_dim=1))
        return code, features
