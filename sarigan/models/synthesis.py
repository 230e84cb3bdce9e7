"""Synthesis network with skip outputs: StyleGAN2 (Karras et al. 2020) and SariGAN (sec. 3, Fig. 2b).

One convolution at 4x4, then two a resolution: `up` doubles the size, `conv` keeps it; RGB images of every resolution are
upsampled and summed. Latents are [N,L,w_dim], L = 2 log2 R - 2: 4x4.conv takes 0, the first ToRGB 1; at resolution 2^l
`up` takes 2l-5, `conv` 2l-4, ToRGB 2l-3 (which the next `up` shares). Every layer from 8x8.up on may be grouped: the
groups are of its *input* channels, by the kernels of the convolution before it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ops import bias_act
from sarigan.errors import InputError
from sarigan.layers.activation import BiasLeakyReLU, NoiseInjection
from sarigan.layers.base_grouping import Grouping
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.grouping import GroupingConfig, build_grouping
from sarigan.layers.intervention import Edit, by_layer
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.modulation.forms import ActivationModulation, WeightModulation
from sarigan.layers.normalization import full_precision, wide_range
from sarigan.layers.resample import upsample_2x
from sarigan.layers.style import ChannelStyle, GroupStyle, StyleCodes


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """min(base / 2^(log2 R - 1), maximum) (StyleGAN2). Config E: base 8192, config F: base 16384, maximum 512 for both."""
    return min(2 * channel_base // resolution, channel_max)


def block_resolutions(resolution: int) -> list[int]:
    """4, 8, ..., R."""
    return [2**level for level in range(2, resolution.bit_length())]


def check_widths(section: str, resolution: int, channel_base: int, channel_max: int) -> None:
    """InputError naming the field when the resolution or the widths make no network."""
    if resolution < 8 or resolution & (resolution - 1):
        raise InputError(f"{section}.resolution must be a power of two and at least 8, got {resolution}")
    for name, value, largest in (
        ("resolution", resolution, 8192), ("channel_base", channel_base, 1 << 20), ("channel_max", channel_max, 16_384)
    ):  # fmt: skip
        if value > largest:
            raise InputError(f"{section}.{name} must be at most {largest:,}, got {value}")
    if channel_max < 1:
        raise InputError(f"{section}.channel_max must be at least 1, got {channel_max}")
    if channels_at(resolution, channel_base, channel_max) < 1:
        raise InputError(
            f"{section}.channel_base must be at least {resolution // 2} at resolution {resolution}, got {channel_base}"
        )


@dataclass
class SynthesisOutput:
    """The outputs of a synthesis network. All tensors but memberships carry gradients."""

    images: Tensor  # [N,3,R,R], about -1..1, not clamped
    codes: dict[str, StyleCodes]  # of every grouped layer, by layer name


@dataclass(frozen=True)
class PartialSynthesis:
    """What is there after some layers; the next one needs nothing else of those before it."""

    x: Tensor  # [N,c,H,W]
    images: Tensor | None = None  # [N,3,H,W], the sum of the ToRGBs so far
    codes: Mapping[str, StyleCodes] = field(default_factory=dict)  # of the grouped layers so far
    num_layers: int = 0
    block_input: Tensor | None = None  # [N,c,h,w], inside a block with a shortcut around it


@dataclass
class GroupedLayer:
    """A layer whose input channels are grouped, with the kernel [c,I,K,K] that produces those channels."""

    name: str
    grouping: Grouping
    kernel: Tensor

    def occupied(self) -> list[int]:
        """The groups that hold channels."""
        groups: list[int] = self.grouping.membership().any(dim=0).nonzero().flatten().tolist()
        return groups


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU. x [N,I,H,W], latent [N,w_dim] -> [N,O,H,W] or, up, [N,O,2H,2W]."""

    def __init__(
        self, in_channels: int, out_channels: int, style: nn.Module, modulation: nn.Module,
        grouping: Grouping | None = None, up: bool = False, adds_noise: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.grouping = grouping
        self.style = style
        self.convolution = EqualizedConv2d(in_channels, out_channels, 3, up=up)
        self.modulation = modulation
        self.noise = NoiseInjection() if adds_noise else None
        self.activation = BiasLeakyReLU(out_channels)

    def forward(
        self, x: Tensor, latent: Tensor, noise: Tensor | None, interventions: Sequence[Edit] = ()
    ) -> tuple[Tensor, StyleCodes]:
        codes = self.style(latent, None if self.grouping is None else self.grouping.trained_membership())
        for intervention in interventions:
            codes = intervention(codes)
        x = self.modulation(x, codes, self.convolution)
        return self.activation(x if self.noise is None else self.noise(x, noise)), codes


class ToRGB(nn.Module):
    """Plainly modulated 1x1 convolution to three channels, without demodulation, plus bias; always float32 or wider."""

    def __init__(self, in_channels: int, style_dim: int) -> None:
        super().__init__()
        self.style = ChannelStyle(style_dim, in_channels)
        self.convolution = EqualizedConv2d(in_channels, 3, 1)
        self.modulation = WeightModulation(demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        codes = self.style(latent)
        # Nothing takes the style back here, so float16 could overflow.
        with torch.autocast(x.device.type, enabled=False) if x.dtype == torch.float16 else nullcontext():
            y = self.modulation(wide_range(x), codes, self.convolution)
        return bias_act(full_precision(y), self.bias, "linear")


class SynthesisBlock(nn.Module):
    """The layers of one resolution."""

    def __init__(self, up: SynthesisLayer | None, conv: SynthesisLayer, to_rgb: ToRGB) -> None:
        super().__init__()
        self.up = up
        self.conv = conv
        self.to_rgb = to_rgb


class SkipSynthesis(nn.Module):
    """latents [N,L,w_dim], noise (one [N,1,H,W] a layer) -> SynthesisOutput.

    An encoder may take part: without `constant` every call brings the features that the network starts from, and features
    E of a resolution join those after `up` as (x + E) / sqrt(2).
    """

    def __init__(
        self, resolution: int, style_dim: int, channel_base: int, channel_max: int, grouping: GroupingConfig,
        form: str = "weight", style_biases: bool = False, constant: bool = True, adds_noise: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.adds_noise = adds_noise
        self.style_dim, self.grouping_config = style_dim, grouping
        self.form, self.style_biases = form, style_biases
        self.resolutions = block_resolutions(resolution)
        self.num_latents = 2 * len(self.resolutions)
        widths = [channels_at(r, channel_base, channel_max) for r in self.resolutions]
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4)) if constant else None
        self.upsample = upsample_2x()
        self.blocks = nn.ModuleDict()
        for index, (r, width) in enumerate(zip(self.resolutions, widths, strict=True)):
            up = None if index == 0 else self._layer(f"{r}x{r}.up", widths[index - 1], width, up=True)
            conv = self._layer(f"{r}x{r}.conv", width, width, up=False)
            self.blocks[f"{r}x{r}"] = SynthesisBlock(up, conv, ToRGB(width, style_dim))
        for layer in self.grouped_layers():
            layer.grouping.initialize(layer.kernel)

    def _layer(self, name: str, in_channels: int, out_channels: int, up: bool) -> SynthesisLayer:
        grouping = None if name == "4x4.conv" else build_grouping(self.grouping_config, in_channels, name)
        if grouping is None:
            style: nn.Module = ChannelStyle(self.style_dim, in_channels)
            return SynthesisLayer(in_channels, out_channels, style, WeightModulation(), None, up, self.adds_noise)
        activation_form = self.form == "activation"
        # Eq. 4 leaves features of variance sum_i h_i^2, which no demodulation removes: g codes of 1/sqrt(g) keep it near 1.
        h_init = grouping.num_groups**-0.5 if activation_form else 1.0
        style = GroupStyle(
            self.style_dim, in_channels, grouping.num_groups, self.style_biases, self.grouping_config.empty_group, h_init
        )
        modulation = ActivationModulation() if activation_form else WeightModulation()
        return SynthesisLayer(in_channels, out_channels, style, modulation, grouping, up, self.adds_noise)

    def named_blocks(self) -> Iterator[tuple[str, SynthesisBlock]]:
        """(`8x8`, block), from low to high resolution."""
        for name, block in self.blocks.items():
            assert isinstance(block, SynthesisBlock)
            yield name, block

    def named_layers(self) -> Iterator[tuple[str, SynthesisLayer]]:
        """(`8x8.up`, layer) in the order of execution, ToRGB excepted."""
        for name, block in self.named_blocks():
            if block.up is not None:
                yield f"{name}.up", block.up
            yield f"{name}.conv", block.conv

    def grouped_layers(self) -> list[GroupedLayer]:
        """The layers with groups, in order, each with the kernel that its grouping clusters."""
        kernels, layers = self.producing_kernels(), dict(self.named_layers())
        return [
            GroupedLayer(name, grouping, kernel)
            for name, kernel in kernels.items()
            if (grouping := layers[name].grouping) is not None
        ]

    def producing_kernels(self) -> dict[str, Tensor]:
        """The kernel [c,I,K,K] that produces the input channels of every layer but the first, by layer name."""
        layers = list(self.named_layers())
        return {name: before.convolution.weight for (_, before), (name, _) in zip(layers[:-1], layers[1:], strict=True)}

    def channel_scales(self, latents: Tensor) -> dict[str, Tensor]:
        """f [N,I] of Eq. 5 for latents [N,L,w_dim], by layer name: how strongly each input channel enters the convolution."""
        found = {}
        for index, (name, layer) in enumerate(self.named_layers()):  # layer i takes latent i
            member = None if layer.grouping is None else layer.grouping.membership()
            found[name], _ = channel_affine(layer.style(latents[:, index], member))
        return found

    def num_groups(self) -> dict[str, int]:
        """The number of groups of every grouped layer, by layer name."""
        return {layer.name: layer.grouping.num_groups for layer in self.grouped_layers()}

    def num_channels(self) -> dict[str, int]:
        """The number of input channels of every layer, by its name."""
        return {name: layer.convolution.weight.shape[1] for name, layer in self.named_layers()}

    def layer_codes(self, latents: Tensor) -> dict[str, StyleCodes]:
        """Codes of every grouped layer for latents [N,L,w_dim], without making images."""
        return {
            name: layer.style(latents[:, index], layer.grouping.membership())
            for index, (name, layer) in enumerate(self.named_layers())  # layer i takes latent i
            if layer.grouping is not None
        }

    def noise_shapes(self) -> list[tuple[int, int]]:
        """(H, W) of the noise of every layer, in order; empty where no layer adds noise."""
        return [(r, r) for r in self.resolutions for _ in range(1 if r == 4 else 2)] if self.adds_noise else []

    def forward(
        self, latents: Tensor, noise: Sequence[Tensor | None], interventions: Sequence[Edit] = (),
        start: Tensor | None = None, features: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> SynthesisOutput:  # fmt: skip
        """start [N,c,4,4]: instead of the constant. features: [N,c,H,W] by the name of the block that they join (`8x8`)."""
        partial = self.begin(latents, start)
        edits = self.edits_by_layer(interventions)
        for _ in self.layer_names():
            partial = self.advance(partial, latents, noise, edits, features)
        return self.finish(partial)

    def layer_names(self) -> list[str]:
        """`4x4.conv`, `8x8.up`, ...: the steps of `advance`."""
        return [name for name, _ in self.named_layers()]

    def latents_of_layer(self, index: int) -> slice:
        """Those that `advance` needs for a layer: its own, and that of the ToRGB after it."""
        return slice(index, index + 2)

    def edits_by_layer(self, interventions: Sequence[Edit]) -> dict[str, list[Edit]]:
        """The edits of every layer, in order; InputError for a layer, group or channel that is not there."""
        return by_layer(interventions, self.num_groups(), self.num_channels()) if interventions else {}

    def begin(self, latents: Tensor, start: Tensor | None = None) -> PartialSynthesis:
        """What is there before the first layer; start as in `forward`."""
        if start is None:
            assert self.constant is not None
            start = self.constant.expand(latents.shape[0], -1, -1, -1)
        return PartialSynthesis(start)

    def advance(
        self, partial: PartialSynthesis, latents: Tensor, noise: Sequence[Tensor | None],
        edits: Mapping[str, Sequence[Edit]], features: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> PartialSynthesis:  # fmt: skip
        """One more layer; at the end of a resolution also its ToRGB. `forward` is all of these steps and no more."""
        index, images = partial.num_layers, partial.images
        resolution = self.resolutions[(index + 1) // 2]  # 4x4.conv, 8x8.up, 8x8.conv, ...
        block = self.blocks[f"{resolution}x{resolution}"]
        assert isinstance(block, SynthesisBlock)
        is_up = index % 2 == 1
        layer, name = (block.up, f"{resolution}x{resolution}.up") if is_up else (block.conv, f"{resolution}x{resolution}.conv")
        assert layer is not None
        x, code = layer(partial.x, latents[:, index], noise[index] if noise else None, edits.get(name, ()))
        codes = partial.codes if code.membership is None else {**partial.codes, name: code}
        if is_up:
            if f"{resolution}x{resolution}" in features:
                x = (x + features[f"{resolution}x{resolution}"]) * math.sqrt(0.5)
            return PartialSynthesis(x, images, codes, index + 1)
        rgb = block.to_rgb(x, latents[:, index + 1])
        if images is not None:
            with torch.autocast(rgb.device.type, enabled=False):
                rgb = self.upsample(images) + rgb
        return PartialSynthesis(x, rgb, codes, index + 1)

    def finish(self, partial: PartialSynthesis) -> SynthesisOutput:
        """The output after the last layer."""
        assert partial.images is not None
        return SynthesisOutput(partial.images, dict(partial.codes))
