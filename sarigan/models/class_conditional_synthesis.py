"""BigGAN's synthesis network (Brock et al. 2019, appendix B): residual blocks from 4x4, each layer normalised by its code.

Latents are [N,L,w_dim], w = [class code, z]: latent 0 makes the 4x4 features, latent l enters block l.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.layers.intervention import Edit, by_layer
from sarigan.layers.modulation.class_conditional_norm import AffineBatchNorm, ClassConditionalNorm
from sarigan.layers.normalization import full_precision, wide_range
from sarigan.layers.self_attention import SelfAttention
from sarigan.layers.spectral_norm import SpectralConv2d, SpectralLinear
from sarigan.layers.style import StyleCodes
from sarigan.models.synthesis import GroupedLayer, PartialSynthesis, SynthesisOutput


class ConditionalLayer(nn.Module):
    """Class-conditional norm, ReLU, convolution: x [N,I,H,W], code [N,D] -> [N,O,H,W] or, up, [N,O,2H,2W].

    A forward hook on `activation` sees the features after the ReLU, and what it returns takes their place.
    """

    def __init__(self, in_channels: int, out_channels: int, code_dim: int, spectral_code: bool, up: bool) -> None:
        super().__init__()
        self.norm = ClassConditionalNorm(in_channels, code_dim, spectral_code)
        self.activation = nn.ReLU()
        self.convolution = SpectralConv2d(in_channels, out_channels, 3)
        self.up = up

    def forward(self, x: Tensor, code: Tensor, edits: Sequence[Edit] = ()) -> tuple[Tensor, StyleCodes]:
        y, codes = self.norm(x, code, edits)
        y = self.activation(y)
        return self.convolution(upsampled(y) if self.up else y), codes


class UpBlock(nn.Module):
    """Two layers, the first of which doubles the size, plus a 1x1 convolution of the block's input."""

    def __init__(self, in_channels: int, out_channels: int, code_dim: int, spectral_code: bool, attention: bool) -> None:
        super().__init__()
        self.up = ConditionalLayer(in_channels, out_channels, code_dim, spectral_code, up=True)
        self.conv = ConditionalLayer(out_channels, out_channels, code_dim, spectral_code, up=False)
        self.skip = SpectralConv2d(in_channels, out_channels, 1)
        self.attention = SelfAttention(out_channels) if attention else None


class ClassConditionalSynthesis(nn.Module):
    """latents [N,L,w_dim] -> SynthesisOutput with the gains and biases of every layer in `codes`; images in -1..1.

    Layers are named as in other generators: `8x8.up` takes the 4x4 features to 8x8, `8x8.conv` follows it. A layer's
    channels are those of its input, which its norm scales and shifts.

    widths: channels of the 4x4 features and of every block's output. chunk_dim: of the part of z that each latent gives;
    0: z makes the 4x4 features and enters no block. spectral_codes: gains and biases come from spectrally normalised layers.
    """

    def __init__(
        self, widths: Sequence[int], class_dim: int, z_dim: int, chunk_dim: int, spectral_codes: bool, attention_resolution: int
    ) -> None:
        super().__init__()
        self.class_dim, self.chunk_dim, self.first_width = class_dim, chunk_dim, widths[0]
        self.num_latents = len(widths)
        self.start = SpectralLinear(chunk_dim or z_dim, widths[0] * 4 * 4)
        self.blocks = nn.ModuleDict()
        for index, (i, o) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            r = 8 << index
            attention = r == attention_resolution
            self.blocks[f"{r}x{r}"] = UpBlock(i, o, class_dim + chunk_dim, spectral_codes, attention)
        self.last_norm = AffineBatchNorm(widths[-1])
        self.to_rgb = SpectralConv2d(widths[-1], 3, 3)

    def named_layers(self) -> Iterator[tuple[str, ConditionalLayer]]:
        """(`8x8.up`, layer) in the order of execution."""
        for name, block in self.named_blocks():
            yield f"{name}.up", block.up
            yield f"{name}.conv", block.conv

    def named_blocks(self) -> Iterator[tuple[str, UpBlock]]:
        """(`8x8`, block), from low to high resolution."""
        for name, block in self.blocks.items():
            assert isinstance(block, UpBlock)
            yield name, block

    def code(self, latents: Tensor, index: int) -> Tensor:
        """What latent `index` of [N,L,w_dim] gives the layers of its block: [class code, chunk of z] [N,D]."""
        w = full_precision(latents[:, index])
        if not self.chunk_dim:
            return w[:, : self.class_dim]
        start = self.class_dim + index * self.chunk_dim
        return torch.cat([w[:, : self.class_dim], w[:, start : start + self.chunk_dim]], dim=1)

    def layer_codes(self, latents: Tensor) -> dict[str, StyleCodes]:
        """Gains and biases of every layer for latents [N,L,w_dim], without making images."""
        found = {}
        for index, (name, layer) in enumerate(self.named_layers()):
            found[name] = layer.norm.codes(self.code(latents, 1 + index // 2))
        return found

    def grouped_layers(self) -> list[GroupedLayer]:
        """None."""
        return []

    def num_groups(self) -> dict[str, int]:
        """No layer has groups."""
        return {}

    def num_channels(self) -> dict[str, int]:
        """The number of input channels of every layer, by its name."""
        return {name: layer.convolution.weight.shape[1] for name, layer in self.named_layers()}

    def producing_kernels(self) -> dict[str, Tensor]:
        """Empty: gains and biases of class-conditional norms have no groups."""
        return {}

    def noise_shapes(self) -> list[tuple[int, int]]:
        """There is no noise."""
        return []

    def forward(
        self, latents: Tensor, noise: Sequence[Tensor | None] = (), interventions: Sequence[Edit] = ()
    ) -> SynthesisOutput:
        """interventions (`ChannelEdit`, or any function StyleCodes -> StyleCodes of a layer) edit gains and biases."""
        partial, edits = self.begin(latents), self.edits_by_layer(interventions)
        for _ in self.layer_names():
            partial = self.advance(partial, latents, noise, edits)
        return self.finish(partial)

    def layer_names(self) -> list[str]:
        """`8x8.up`, `8x8.conv`, ...: the steps of `advance`."""
        return [name for name, _ in self.named_layers()]

    def latents_of_layer(self, index: int) -> slice:
        """Those that `advance` needs for a layer; of the first layer, those of `begin` too."""
        return slice(0 if index == 0 else 1 + index // 2, 2 + index // 2)

    def edits_by_layer(self, interventions: Sequence[Edit]) -> dict[str, list[Edit]]:
        """The edits of every layer, in order; InputError for a layer or channel that is not there."""
        return by_layer(interventions, {}, self.num_channels()) if interventions else {}

    def begin(self, latents: Tensor) -> PartialSynthesis:
        """The 4x4 features."""
        first = latents[:, 0, self.class_dim :]
        x = self.start(first[:, : self.chunk_dim] if self.chunk_dim else first)
        x = x.reshape(-1, self.first_width, 4, 4).contiguous(memory_format=_layout_of(self.to_rgb.weight))
        return PartialSynthesis(x)

    def advance(
        self, partial: PartialSynthesis, latents: Tensor, noise: Sequence[Tensor | None], edits: Mapping[str, Sequence[Edit]]
    ) -> PartialSynthesis:
        """One more layer; at the end of a block also its shortcut. `forward` is all of these steps and no more."""
        index = partial.num_layers
        resolution = 8 << index // 2
        block = self.blocks[f"{resolution}x{resolution}"]
        assert isinstance(block, UpBlock)
        is_up = index % 2 == 0
        layer, name = (block.up, f"{resolution}x{resolution}.up") if is_up else (block.conv, f"{resolution}x{resolution}.conv")
        y, code = layer(partial.x, self.code(latents, 1 + index // 2), edits.get(name, ()))
        codes = {**partial.codes, name: code}
        if is_up:
            return PartialSynthesis(y, None, codes, index + 1, block_input=partial.x)
        assert partial.block_input is not None
        # A 1x1 convolution of repeated pixels is the repeated 1x1 convolution.
        x = y + upsampled(block.skip(partial.block_input))
        if block.attention is not None:
            x = block.attention(x)
        return PartialSynthesis(x, None, codes, index + 1)

    def finish(self, partial: PartialSynthesis) -> SynthesisOutput:
        """The output after the last layer."""
        x = F.relu(self.last_norm(partial.x))
        with torch.autocast(x.device.type, enabled=False) if x.dtype == torch.float16 else nullcontext():
            images = self.to_rgb(wide_range(x))
        return SynthesisOutput(torch.tanh(full_precision(images)), dict(partial.codes))


def upsampled(x: Tensor) -> Tensor:
    """Every pixel becomes 2x2: [N,C,H,W] -> [N,C,2H,2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _layout_of(kernel: Tensor) -> torch.memory_format:
    is_last = kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
