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
    """What controls a layer. Without groups only `z_scale` is there, and it is the per-channel scale itself."""

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

    h_init scales h, its spread included, at the start.

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


def channel_affine(codes: StyleCodes, epsilon: float = 1e-8) -> tuple[Tensor, Tensor | None]:
    """Eq. 5: the per-channel scale f [N,I], and the per-channel offset [N,I] where the codes carry biases, else None.

    For channel j of group i with the members C_i:
        f_j = h_i z_j / sqrt(v_i + epsilon),  v_i = 1/c sum_{C_i} z_j^2.
    With biases b = z_b (Eq. 3-4 worked out for instance-normalised features, Eq. 4's bias kept to the group's channels):
        v_i = 1/c sum_{C_i} (z_j^2 + b_j^2) - m_i^2,  m_i = 1/c sum_{C_i} b_j,
        offset_j = h_i (b_j - m_i) / sqrt(v_i + epsilon) + h_b,i.
    An empty group contributes exactly nothing, and no NaN gradient even with epsilon 0.
    """
    if codes.h_scale is None or codes.membership is None:
        return codes.z_scale, None
    if codes.empty_group == "release":
        return _release_scale(codes.z_scale, codes.h_scale, codes.membership), None
    z, h = codes.z_scale, codes.h_scale
    member = codes.membership.to(z.dtype)
    num_channels = member.shape[0]
    occupied = member.sum(dim=0) > 0
    power = z.square()
    mean = None
    if codes.z_bias is not None:
        power = power + codes.z_bias.square()
        mean = codes.z_bias @ member / num_channels
    variance = power @ member / num_channels
    if mean is not None:
        variance = variance - mean.square()
    ratio = torch.where(occupied, h * torch.rsqrt(torch.where(occupied, variance + epsilon, 1.0)), 0.0)
    spread = ratio @ member.t()  # h_i / sigma_i of the group of each channel
    if codes.z_bias is None or mean is None:
        return z * spread, None
    offset = spread * (codes.z_bias - mean @ member.t())
    if codes.h_bias is not None:
        offset = offset + codes.h_bias @ member.t()
    return z * spread, offset


def _release_scale(z: Tensor, h: Tensor, member: Tensor) -> Tensor:
    """The published code's f: every row of (membership + 1e-6) o z normalised to unit length, times h, summed.

    An empty group's row of 1e-6 z is blown up to unit length over *all* channels. Kept to reproduce its checkpoints.
    """
    leaky = member.to(z.dtype) + 1e-6
    length = torch.sqrt(z.square() @ leaky.square()).clamp_min(1e-12)
    return z * ((h / length) @ leaky.t())
