"""From the latent of a layer to the codes of its input channels (SariGAN sec. 3.2).

Legend: N batch, I input channels, G groups, D style dimension. A latent is [w_h, w_z] of 2D numbers where a layer has
groups, w_z alone (D) where no layer has any.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision


@dataclass
class StyleCodes:
    """The codes that control a layer. Without groups there is only `z_scale`, the scale of each channel."""

    z_scale: Tensor  # [N,I], intra-group, z_s of Eq. 3
    h_scale: Tensor | None = None  # [N,G], inter-group, h_s of Eq. 4
    z_bias: Tensor | None = None  # [N,I], z_b of Eq. 3
    h_bias: Tensor | None = None  # [N,G], h_b of Eq. 4
    membership: Tensor | None = None  # [I,G], one-hot rows
    empty_group: str = "zero"  # what an empty group does; `release` reproduces the published code


class ChannelStyle(nn.Module):
    """StyleGAN2's style: one affine map of w_z to a scale per channel, bias 1. latent [N,D or 2D] -> StyleCodes."""

    def __init__(self, style_dim: int, num_channels: int) -> None:
        super().__init__()
        self.style_dim = style_dim
        self.z_scale = EqualizedLinear(style_dim, num_channels, bias_init=1.0)

    def forward(self, latent: Tensor, membership: Tensor | None = None) -> StyleCodes:
        with torch.autocast(latent.device.type, enabled=False):
            return StyleCodes(self.z_scale(full_precision(latent[:, -self.style_dim :])))


class GroupStyle(nn.Module):
    """SariGAN's style: z (per channel) from w_z and h (per group) from w_h, biases 1; optionally z_b, h_b, biases 0.

    h_init: the initial bias of h, and the factor of its initial weights.
    latent [N,2D] = [w_h, w_z], membership [I,G] -> StyleCodes.
    """

    def __init__(
        self,
        style_dim: int,
        num_channels: int,
        num_groups: int,
        biases: bool = False,
        empty_group: str = "zero",
        h_init: float = 1.0,
    ) -> None:
        super().__init__()
        self.style_dim, self.empty_group = style_dim, empty_group
        self.h_scale = EqualizedLinear(style_dim, num_groups, bias_init=h_init)
        with torch.no_grad():
            self.h_scale.weight.mul_(h_init)
        self.z_scale = EqualizedLinear(style_dim, num_channels, bias_init=1.0)
        self.h_bias = EqualizedLinear(style_dim, num_groups) if biases else None
        self.z_bias = EqualizedLinear(style_dim, num_channels) if biases else None

    def forward(self, latent: Tensor, membership: Tensor | None = None) -> StyleCodes:
        with torch.autocast(latent.device.type, enabled=False):
            latent = full_precision(latent)
            w_h, w_z = latent[:, : self.style_dim], latent[:, self.style_dim :]
            return StyleCodes(
                z_scale=self.z_scale(w_z),
                h_scale=self.h_scale(w_h),
                z_bias=self.z_bias(w_z) if self.z_bias is not None else None,
                h_bias=self.h_bias(w_h) if self.h_bias is not None else None,
                membership=membership,
                empty_group=self.empty_group,
            )
