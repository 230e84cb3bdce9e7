"""Residual discriminator of StyleGAN2 (Karras et al. 2020), and SariGAN's recognition head Q on its trunk (sec. 4).

Q regresses the codes of an image, for the information loss (SariGAN Eq. 8; Chen et al. 2016, InfoGAN).
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_at_most
from sarigan.layers.activation import BiasLeakyReLU
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision, wide_range
from sarigan.models.generator import Generator, GeneratorOutput
from sarigan.models.mapping import MappingNetwork
from sarigan.models.synthesis import block_resolutions, channels_at, check_widths


class RecognitionHead(nn.Module):
    """Regresses the codes of an image from the discriminator's last features: [N,features] -> [N,code_dim]."""

    def __init__(self, num_features: int, code_dim: int) -> None:
        super().__init__()
        self.linear = EqualizedLinear(num_features, code_dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)


def information_target(output: GeneratorOutput, kind: str) -> Tensor:
    """`w`: the mean latent over layers [N,w_dim] (w itself unless layers mix two). `codes`: [h, z] of every grouped layer."""
    if kind == "w":
        return output.latents.mean(dim=1)
    parts = [part for code in output.codes.values() for part in (code.h_scale, code.z_scale) if part is not None]
    return torch.cat(parts, dim=1)


def code_halves(generator: Generator, kind: str) -> dict[str, Tensor]:
    """Indices [D] of the target's dimensions: `all`, and with groups also those of the `h` and of the `z` half."""
    layers = generator.grouped_layers()
    if kind == "w":
        inter = torch.arange(generator.config.w_dim) < generator.config.style_dim
    else:
        sizes = [(layer.grouping.num_groups, layer.grouping.num_channels) for layer in layers]
        inter = torch.cat([torch.arange(groups + channels) < groups for groups, channels in sizes])
    halves = {"all": torch.arange(len(inter))}
    return {**halves, "h": inter.nonzero()[:, 0], "z": (~inter).nonzero()[:, 0]} if layers else halves


LABEL_MAPPING_LAYERS = 8


class MinibatchStddev(nn.Module):
    """Append the standard deviation over groups of samples, averaged over features, as a constant map (Karras et al. 2018).

    x [N,C,H,W] -> [N,C+1,H,W]. A group holds `group_size` samples (or the largest divisor of N below it). With M = N/group_size
    groups, sample n belongs to group n mod M. So a batch that is cut into shards s, s+S, s+2S, ... keeps its groups as long as
    every shard holds a multiple of `group_size` samples. `num_batches`: x is so many batches of equal size, one after the
    other, and no group holds samples of two of them.
    """

    def __init__(self, group_size: int = 4, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.group_size, self.epsilon = group_size, epsilon

    def forward(self, x: Tensor, num_batches: int = 1) -> Tensor:
        total, c, h, w = x.shape
        n = total // num_batches
        size = max(g for g in range(1, min(self.group_size, n) + 1) if n % g == 0)
        groups = full_precision(x).reshape(num_batches, size, n // size, c, h, w)
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        stddev = torch.sqrt(variance + self.epsilon).mean(dim=(2, 3, 4)).to(x.dtype)  # [B,M]
        maps = stddev[:, None].expand(num_batches, size, n // size).reshape(total, 1, 1, 1).expand(total, 1, h, w)
        return torch.cat([x, maps], dim=1)


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Defaults are config-E widths. The resolution is the generator's."""

    channel_base: int = 8192  # config E; config F: 16384
    channel_max: int = 512  # channels of a layer: 2 channel_base / its resolution, at most this
    minibatch_stddev_group: int = 4  # images whose deviation D sees; a pass should be a multiple

    def __post_init__(self) -> None:
        check_widths("discriminator", 8, self.channel_base, self.channel_max)
        if self.minibatch_stddev_group < 1:
            raise InputError(f"discriminator.minibatch_stddev_group must be at least 1, got {self.minibatch_stddev_group}")
        require_at_most("discriminator", self, minibatch_stddev_group=1 << 20)


@dataclass
class DiscriminatorOutput:
    """Scores of a batch of images."""

    logits: Tensor  # [N], positive means real
    codes: Tensor | None  # [N,code_dim], Q's estimate of the codes; None without a Q head


class ResidualBlock(nn.Module):
    """(conv3(x) + skip(x)) / sqrt(2), halving the size: [N,I,H,W] -> [N,O,H/2,W/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, in_channels, 3)
        self.activation = BiasLeakyReLU(in_channels)
        self.down = EqualizedConv2d(in_channels, out_channels, 3, down=True)
        self.down_activation = BiasLeakyReLU(out_channels)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, down=True)

    def forward(self, x: Tensor) -> Tensor:
        # 1/sqrt(2) of the sum, folded: the activation's own gain sqrt(2) becomes 1.
        y = self.down_activation(self.down(self.activation(self.conv(x))), gain=1.0)
        return torch.add(y, self.skip(x), alpha=1 / math.sqrt(2))


class Discriminator(nn.Module):
    """images [N,3,R,R] -> DiscriminatorOutput. code_dim 0: no Q head.

    With K = num_classes > 0 the logit is a projection (Miyato & Koyama 2018, in the form of StyleGAN2-ADA): C features are
    multiplied with C numbers of the label, from a mapping network of 8 layers, and logit = sum_c x_c m(label)_c / sqrt(C).

    Several batches one after the other (`num_batches`, of equal size) are judged as in passes of their own.
    """

    def __init__(self, config: DiscriminatorConfig, resolution: int, code_dim: int = 0, num_classes: int = 0) -> None:
        super().__init__()
        check_widths("discriminator", resolution, config.channel_base, config.channel_max)
        resolutions = block_resolutions(resolution)[::-1]
        widths = [channels_at(r, config.channel_base, config.channel_max) for r in resolutions]
        self.from_rgb = EqualizedConv2d(3, widths[0], 1)
        self.from_rgb_activation = BiasLeakyReLU(widths[0])
        self.blocks = nn.ModuleDict(
            {f"{r}x{r}": ResidualBlock(i, o) for r, i, o in zip(resolutions[:-1], widths[:-1], widths[1:], strict=True)}
        )
        last = widths[-1]
        self.minibatch_stddev = MinibatchStddev(config.minibatch_stddev_group)
        self.conv = EqualizedConv2d(last + 1, last, 3)
        self.activation = BiasLeakyReLU(last)
        self.dense = EqualizedLinear(last * 4 * 4, last, activation="leaky_relu")
        self.head = EqualizedLinear(last, last if num_classes else 1)
        self.recognition = RecognitionHead(last, code_dim) if code_dim else None
        self.label_mapping = (
            MappingNetwork(0, last, last, LABEL_MAPPING_LAYERS, num_classes=num_classes) if num_classes else None
        )

    def forward(self, images: Tensor, num_batches: int = 1, labels: Tensor | None = None) -> DiscriminatorOutput:
        x = self.from_rgb_activation(self.from_rgb(images))
        for block in self.blocks.values():
            x = block(x)
        with torch.autocast(images.device.type, enabled=False) if x.dtype == torch.float16 else nullcontext():
            x = self.activation(self.conv(self.minibatch_stddev(wide_range(x), num_batches)))
        with torch.autocast(images.device.type, enabled=False):
            features = self.dense(full_precision(x).flatten(start_dim=1))
            codes = None if self.recognition is None else self.recognition(features)
            logits = self.head(features)
            if self.label_mapping is not None:
                logits = (logits * self.label_mapping(None, labels)).sum(dim=1, keepdim=True) / math.sqrt(logits.shape[1])
            return DiscriminatorOutput(logits.squeeze(1), codes)
