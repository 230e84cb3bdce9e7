"""The codes of a layer as one scale per input channel (SariGAN Eq. 5), and demodulation (Eq. 6; StyleGAN2, Eq. 1-3).

Legend: N batch, O output channels, I input channels, K kernel, G groups.
"""

import torch
from torch import Tensor

from sarigan.layers.style import StyleCodes


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


def demodulation(weight: Tensor, scale: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Eq. 6: d_o = 1 / sqrt(sum_i f_i^2 sum_k w_oik^2 + epsilon), the factor of w_oik f_i that makes features of unit variance.

    weight [O,I,K,K], scale f [N,I] -> [N,O].
    """
    power = scale.square() @ weight.square().sum(dim=(2, 3)).t()
    return torch.rsqrt(power + epsilon)
