"""Synthesis network of StyleGAN (Karras et al. 2019) without progressive growing: tables call it "StyleGAN (no growing)".

A constant of ones with an epilogue of its own, then at 4x4 one convolution and at every further resolution two, each
followed by an AdaIN epilogue; 2x upsampling by repetition, the convolution, a [1,2,1] blur; one ToRGB at the end.
Epilogue i takes latent i: [N,L,w_dim], L = 2 log2 R - 2.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ops import bias_act
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.intervention import Edit, by_layer
from sarigan.layers.modulation.adain import AdaINEpilogue
from sarigan.layers.normalization import full_precision
from sarigan.layers.resample import Resample2d
from sarigan.layers.style import StyleCodes
from sarigan.models.synthesis import GroupedLayer, PartialSynthesis, SynthesisOutput, block_resolutions, channels_at


class AdaINLayer(nn.Module):
    """(2x repetition,) 3x3 convolution (, blur), epilogue. x [N,I,H,W] -> [N,O,H,W] or, up, [N,O,2H,2W]."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, up: bool, adds_noise: bool = True) -> None:
        super().__init__()
        self.convolution = EqualizedConv2d(in_channels, out_channels, 3)
        self.blur = Resample2d((1, 1), taps=(1.0, 2.0, 1.0)) if up else None
        self.epilogue = AdaINEpilogue(style_dim, out_channels, adds_noise)

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor | None) -> Tensor:
        if self.blur is not None:
            x = self.blur(self.convolution(F.interpolate(x, scale_factor=2, mode="nearest")))
        else:
            x = self.convolution(x)
        return self.epilogue(x, latent, noise)


class AdaINSynthesis(nn.Module):
    """latents [N,L,w_dim], noise (one [N,1,H,W] an epilogue) -> SynthesisOutput without codes."""

    def __init__(
        self, resolution: int, style_dim: int, channel_base: int, channel_max: int, adds_noise: bool = True
    ) -> None:
        super().__init__()
        self.adds_noise = adds_noise
        self.resolutions = block_resolutions(resolution)
        self.num_latents = 2 * len(self.resolutions)
        widths = [channels_at(r, channel_base, channel_max) for r in self.resolutions]
        self.constant = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.first_epilogue = AdaINEpilogue(style_dim, widths[0], adds_noise)
        layers = [AdaINLayer(widths[0], widths[0], style_dim, False, adds_noise)]
        for before, width in zip(widths[:-1], widths[1:], strict=True):
            layers.append(AdaINLayer(before, width, style_dim, True, adds_noise))
            layers.append(AdaINLayer(width, width, style_dim, False, adds_noise))
        self.layers = nn.ModuleList(layers)
        self.to_rgb = EqualizedConv2d(widths[-1], 3, 1)
        self.rgb_bias = nn.Parameter(torch.zeros(3))

    def grouped_layers(self) -> list[GroupedLayer]:
        """None: StyleGAN has no groups."""
        return []

    def num_groups(self) -> dict[str, int]:
        """Empty: StyleGAN has no groups."""
        return {}

    def layer_codes(self, latents: Tensor) -> dict[str, StyleCodes]:
        """Empty: StyleGAN has no groups."""
        return {}

    def producing_kernels(self) -> dict[str, Tensor]:
        """Empty: no style scales the input channels of StyleGAN's convolutions."""
        return {}

    def channel_scales(self, latents: Tensor) -> dict[str, Tensor]:
        """Empty: as `producing_kernels`."""
        return {}

    def noise_shapes(self) -> list[tuple[int, int]]:
        """(H, W) of the noise of every epilogue, in order; empty where none adds noise."""
        return [(r, r) for r in self.resolutions for _ in range(2)] if self.adds_noise else []

    def forward(self, latents: Tensor, noise: Sequence[Tensor | None], interventions: Sequence[Edit] = ()) -> SynthesisOutput:
        partial = self.begin(latents)
        edits = self.edits_by_layer(interventions)
        for _ in self.layer_names():
            partial = self.advance(partial, latents, noise, edits)
        return self.finish(partial)

    def num_channels(self) -> dict[str, int]:
        """Empty: edits of channels act on the styles of StyleGAN2."""
        return {}

    def layer_names(self) -> list[str]:
        """`4x4.first`, `4x4.conv`, `8x8.up`, ...: the steps of `advance`."""
        names = [f"{r}x{r}.{part}" for r in self.resolutions for part in ("up", "conv")]
        return ["4x4.first", *names[1:]]

    def latents_of_layer(self, index: int) -> slice:
        """The one that `advance` needs for a layer."""
        return slice(index, index + 1)

    def edits_by_layer(self, interventions: Sequence[Edit]) -> dict[str, list[Edit]]:
        """Empty; InputError for any edit, since there is no layer that it fits."""
        return by_layer(interventions, self.num_groups(), self.num_channels())

    def begin(self, latents: Tensor) -> PartialSynthesis:
        """What is there before the first epilogue."""
        return PartialSynthesis(self.constant.expand(latents.shape[0], -1, -1, -1))

    def advance(
        self, partial: PartialSynthesis, latents: Tensor, noise: Sequence[Tensor | None], edits: Mapping[str, Sequence[Edit]]
    ) -> PartialSynthesis:
        """One more layer with its epilogue. `forward` is all of these steps and the ToRGB of `finish`."""
        index = partial.num_layers
        layer = self.first_epilogue if index == 0 else self.layers[index - 1]
        return PartialSynthesis(layer(partial.x, latents[:, index], noise[index] if noise else None), num_layers=index + 1)

    def finish(self, partial: PartialSynthesis) -> SynthesisOutput:
        """The output after the last layer."""
        return SynthesisOutput(bias_act(full_precision(self.to_rgb(partial.x)), self.rgb_bias, "linear"), {})
