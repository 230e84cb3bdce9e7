"""Q, the recognition head of the information loss (SariGAN Eq. 8; Chen et al. 2016, InfoGAN), and what it regresses."""

import torch
from torch import Tensor, nn

from sarigan.layers.linear import EqualizedLinear
from sarigan.models.generator import Generator, GeneratorOutput


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
    """Which dimensions of the target belong to the h and to the z half, indices [D]; `all` alone without groups."""
    layers = generator.grouped_layers()
    if kind == "w":
        inter = torch.arange(generator.config.w_dim) < generator.config.style_dim
    else:
        sizes = [(layer.grouping.num_groups, layer.grouping.num_channels) for layer in layers]
        inter = torch.cat([torch.arange(groups + channels) < groups for groups, channels in sizes])
    halves = {"all": torch.arange(len(inter))}
    return {**halves, "h": inter.nonzero()[:, 0], "z": (~inter).nonzero()[:, 0]} if layers else halves
