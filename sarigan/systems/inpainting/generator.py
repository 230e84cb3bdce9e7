"""The co-modulated generator (Zhao et al. 2021), with the groups of SariGAN or without.

Every style sees the latent and the global code g of what is known: [w, g]; with groups h sees [w_h, g] and z sees [w_z, g].
The network starts from a dense layer of g, and features E of the encoder join those of the synthesis as (x + E) / sqrt(2),
because demodulation assumes unit variance. A channel that E joins has two kernels, the synthesis's and the encoder's. Its
group is that of both, concatenated after each has its equalised scale, by which they weigh alike (Eq. 1 of [k_up, k_E]).
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.device import to_device
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.intervention import Edit
from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig, DiscriminatorOutput
from sarigan.models.generator import Generator, GeneratorConfig, GeneratorOutput, LatentMixing, Noise
from sarigan.models.synthesis import GroupedLayer, SkipSynthesis, channels_at
from sarigan.systems.inpainting.encoder import Encoder, EncoderBlock, EncoderConfig, masked_input


class InpaintingGenerator(Generator):
    """images [N,3,R,R], known [N,1,R,R], z [N,z_dim] -> GeneratorOutput whose images equal the given ones where known."""

    synthesis: SkipSynthesis
    draws_completions = True

    def __init__(self, config: GeneratorConfig, encoder: EncoderConfig) -> None:
        super().__init__(config)
        widths = (config.channel_base, config.channel_max)
        self.both_kernels = encoder.grouped_kernels == "both"
        self.encoder = Encoder(config.resolution, *widths, encoder.global_dim)
        self.start = EqualizedLinear(encoder.global_dim, channels_at(4, *widths) * 4 * 4, activation="leaky_relu")
        self.synthesis = SkipSynthesis(  # instead of the plain one: its styles are wider
            config.resolution, config.style_dim + encoder.global_dim, *widths, config.grouping, config.form,
            config.style_biases, constant=False, adds_noise=config.noise,
        )  # fmt: skip
        for layer in self.grouped_layers():
            layer.grouping.initialize(layer.kernel)

    def grouped_layers(self) -> list[GroupedLayer]:
        """The layers with groups, each with the kernels that its grouping clusters: [c,d] where there are two."""
        layers = self.synthesis.grouped_layers()
        return [dataclasses.replace(layer, kernel=self._kernel(layer)) for layer in layers] if self.both_kernels else layers

    def _kernel(self, layer: GroupedLayer) -> Tensor:
        """[c,d]: what produces the layer's input. That of `8x8.conv` is 8x8.up and the encoder's convolution at 8x8."""
        resolution, _, part = layer.name.partition(".")
        if part != "conv":
            return layer.kernel
        up, block = dict(self.synthesis.named_layers())[f"{resolution}.up"], self.encoder.blocks[resolution]
        assert isinstance(block, EncoderBlock)
        kernels = [(conv.weight.flatten(start_dim=1), conv.scale) for conv in (up.convolution, block.conv)]
        return torch.cat([kernel * scale for kernel, scale in kernels], dim=1)

    def forward(  # type: ignore[override]
        self, images: Tensor, known: Tensor, z: Tensor, mixing: LatentMixing | None = None, noise: Noise = "random",
        dropout: Tensor | None = None, truncation_psi: float = 1.0, interventions: Sequence[Edit] = (),
    ) -> GeneratorOutput:  # fmt: skip
        """Complete. noise, mixing, truncation and interventions as in `Generator`; dropout [N,global_dim]: factors of g.

        `latents` of the result are those of z alone, which the information loss regresses.
        """
        latents = self.latents(z, mixing)
        if truncation_psi != 1.0:
            latents = self.truncate(latents, truncation_psi)
        if isinstance(noise, str):
            noise = self.draw_noise(latents, noise)
        code, features = self.encoder(images, known)
        code = code if dropout is None else code * dropout
        with torch.autocast(images.device.type, enabled=False):
            start = self.start(code).reshape_as(features["4x4"])
            start = (start + full_precision(features["4x4"])) * math.sqrt(0.5)
        output = self.synthesis(self.co_modulated(latents, code), noise, interventions, start, features)
        # A choice, not a product with the mask: known pixels keep all of their bits.
        return GeneratorOutput(torch.where(known > 0.5, images, output.images), latents, output.codes)

    def complete(self, images: Tensor, known: Tensor, seeds: Sequence[int], truncation_psi: float = 1.0) -> Tensor:
        """Completions [N,3,R,R]: latent and noise of sample n are drawn by seeds[n]."""
        drawn: list[list[Tensor]] = []
        source = torch.Generator()
        for seed in seeds:
            source.manual_seed(seed)
            shapes = [(self.config.z_dim,), *((1, h, w) for h, w in self.synthesis.noise_shapes())]
            drawn.append([torch.randn(shape, generator=source) for shape in shapes])
        stacked = [torch.stack(parts) for parts in zip(*drawn, strict=True)]
        z, *noise = to_device(stacked, self.mean_latent.device, self.mean_latent.dtype)
        return self(images, known, z, noise=noise, truncation_psi=truncation_psi).images

    def co_modulated(self, latents: Tensor, code: Tensor) -> Tensor:
        """[w, g], or with groups [w_h, g, w_z, g]: latents [N,L,w_dim], code [N,global_dim]."""
        codes = code[:, None].expand(-1, latents.shape[1], -1)
        halves = latents.split(self.config.style_dim, dim=2)
        return torch.cat([part for half in halves for part in (half, codes)], dim=2)


class InpaintingDiscriminator(Discriminator):
    """images [N,3,R,R], known [N,1,R,R] -> DiscriminatorOutput. D sees [known - 1/2, images]."""

    def __init__(self, config: DiscriminatorConfig, resolution: int, code_dim: int = 0) -> None:
        super().__init__(config, resolution, code_dim)
        self.from_rgb = EqualizedConv2d(4, self.from_rgb.weight.shape[0], 1)

    def forward(  # type: ignore[override]
        self, images: Tensor, known: Tensor, num_batches: int = 1
    ) -> DiscriminatorOutput:
        return super().forward(masked_input(images, known), num_batches)
