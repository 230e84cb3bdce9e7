"""One small convolutional network a scale: the generators of a pyramid, and the critic of a scale (SinGAN, Fig. 4).

Five 3x3 convolutions without padding see 11x11 pixels and take 5 from every side. The input of a generator is padded once by
as many, never a layer's, so that the border of an image is less the same in every sample.
N images, C channels, [H,W] of a scale.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.data.picture import resized
from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.systems.single_image.pyramid import Size

NORMS = ("batch", "none")
PADDINGS = ("zero", "noise")


@dataclass(frozen=True)
class ScaleNetworkConfig:
    """The generator and the critic of every scale."""

    num_layers: int = 5  # convolutions; one pixel of margin each
    channels: int = 32  # of the coarsest scales; twice as many after every `doubling` scales
    doubling: int = 4
    max_channels: int = 128
    generator_norm: str = "batch"  # batch | none
    critic_norm: str = "batch"
    slope: float = 0.2  # of leaky ReLU
    # Of a generator's input: zero (noise map and image are padded by zeros) | noise (the noise map is drawn larger instead)
    padding: str = "zero"

    def __post_init__(self) -> None:
        require_at_least_1(self, "channels", "doubling", "max_channels", prefix="networks.")
        require_at_most("networks", self, channels=1024, max_channels=1024, doubling=64, num_layers=32)
        if self.num_layers < 2:
            raise InputError(f"networks.num_layers must be at least 2, got {self.num_layers}")
        if not 0 <= self.slope < 1:
            raise InputError(f"networks.slope must be from 0 to below 1, got {self.slope}")
        require_one_of(self, "networks.", generator_norm=NORMS, critic_norm=NORMS, padding=PADDINGS)

    def width(self, level: int) -> int:
        """Channels of the networks of a scale."""
        return min(self.channels * 2 ** (level // self.doubling), self.max_channels)


def _layers(config: ScaleNetworkConfig, width: int, outputs: int, norm: str) -> nn.Sequential:
    """conv, norm, leaky ReLU, ..., conv: [N,3,H,W] -> [N,outputs,H-2L,W-2L]."""
    layers: list[nn.Module] = []
    for index in range(config.num_layers - 1):
        layers.append(nn.Conv2d(width if index else 3, width, 3))
        layers += [nn.BatchNorm2d(width)] * (norm == "batch")
        layers.append(nn.LeakyReLU(config.slope))
    layers.append(nn.Conv2d(width, outputs, 3))
    network = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network


class Critic(nn.Module):
    """A score for every patch of 11x11 pixels: [N,3,H,W] -> [N,1,H-10,W-10]."""

    def __init__(self, config: ScaleNetworkConfig, level: int) -> None:
        super().__init__()
        self.layers = _layers(config, config.width(level), 1, config.critic_norm)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


class ScaleGenerator(nn.Module):
    """base + tanh(convolutions of the padded input): the details that a scale adds."""

    def __init__(self, config: ScaleNetworkConfig, level: int) -> None:
        super().__init__()
        self.layers = _layers(config, config.width(level), 3, config.generator_norm)

    def forward(self, padded: Tensor, base: Tensor) -> Tensor:
        """padded [N,3,H+10,W+10], base [N,3,H,W] -> [N,3,H,W]."""
        return torch.tanh(self.layers(padded)) + base


class PyramidGenerator(nn.Module):
    """The generators of all scales, the picture, its fixed noise z*, and the amplitude of every scale's noise.

    A scale makes x_n = up(x_(n-1)) + psi_n(sigma_n z_n + up(x_(n-1))). With z* at the coarsest scale and no noise at the
    others, the chain gives the picture back.
    """

    picture: Tensor  # [1,3,H,W] in -1..1
    fixed_noise: Tensor  # z* [1,3,h,w] of the coarsest scale
    amplitudes: Tensor  # sigma [S]
    num_begun: Tensor  # int64: scales whose training has begun

    def __init__(self, config: ScaleNetworkConfig, sizes: Sequence[Size], picture: Tensor) -> None:
        super().__init__()
        self.config, self.sizes = config, list(sizes)
        self.margin = config.num_layers
        self.levels = nn.ModuleList(ScaleGenerator(config, level) for level in range(len(sizes)))
        self.register_buffer("picture", picture)
        self.register_buffer("fixed_noise", torch.zeros(1, 3, *self.noise_size(sizes[0])))
        self.register_buffer("amplitudes", torch.ones(len(sizes)))
        self.register_buffer("num_begun", torch.ones((), dtype=torch.int64))

    def noise_size(self, size: Size) -> Size:
        """Of the noise map of a scale of this size."""
        extra = 2 * self.margin if self.config.padding == "noise" else 0
        return size[0] + extra, size[1] + extra

    def forward(self, noises: Sequence[Tensor], image: Tensor | None = None, first: int = 0) -> Tensor:
        """Scales first, first + 1, ..., one for each noise map [N,3,h,w], whose size decides the scale's.

        image: what the scale before `first` made, of any size; None before the coarsest. -> [N,3,H,W], about -1..1.
        """
        margins = (self.margin,) * 4
        for level, noise in enumerate(noises, first):
            extra = 2 * self.margin if self.config.padding == "noise" else 0
            size = noise.shape[-2] - extra, noise.shape[-1] - extra
            base = noise.new_zeros(len(noise), 3, *size) if image is None else resized(image, size)
            noise = self.amplitudes[level] * noise
            padded = (noise if extra else F.pad(noise, margins)) + F.pad(base, margins)
            image = self.levels[level](padded, base)
        assert image is not None
        return image

    def evaluated(self, noises: Sequence[Tensor], image: Tensor | None = None, first: int = 0) -> Tensor:
        """`forward` in evaluation mode, without gradients."""
        with torch.no_grad(), evaluating(self):
            made: Tensor = self(noises, image, first)
            return made

    def real(self, level: int) -> Tensor:
        """The picture at a scale: [1,3,H,W] in -1..1."""
        return resized(self.picture, self.sizes[level])

    def reconstruction_noises(self, first: int, end: int) -> list[Tensor]:
        """z* and zeros, for scales first .. end - 1."""
        silent = [self.picture.new_zeros(1, 3, *self.noise_size(size)) for size in self.sizes[first:end]]
        return [self.fixed_noise, *silent[1:]] if first == 0 and silent else silent

    def reconstruction(self, level: int) -> Tensor:
        """The chain from z* to a scale, in evaluation mode, without gradients: [1,3,H,W]."""
        return self.evaluated(self.reconstruction_noises(0, level + 1))

    def train_only(self, levels: range) -> None:
        """Put the scales of `levels` into training mode, all others into evaluation mode."""
        for level, network in enumerate(self.levels):
            network.train(level in levels)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; every part then gets its own mode back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
