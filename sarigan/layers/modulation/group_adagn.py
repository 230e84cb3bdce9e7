"""AdaGN: adaptive group normalisation by the inter-group codes (SariGAN Eq. 4), and the activation form it completes."""

import torch
from torch import Tensor, nn

from sarigan.layers.activation import HALF_CLAMP
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.modulation.group_adain import group_adain
from sarigan.layers.normalization import full_precision, wide_range
from sarigan.layers.style import StyleCodes


def group_adagn(x: Tensor, membership: Tensor, h_scale: Tensor, h_bias: Tensor | None, epsilon: float = 1e-8) -> Tensor:
    """X'' = sum_i h_s,i (X'_i - mean(X'_i)) / std(X'_i) + h_b,i, each group's term kept to its own channels.

    x [N,C,H,W] holds all X'_i at once, membership [C,G], h_scale and h_bias [N,G].
    Statistics run over all C*H*W entries of X'_i, the zeros of other groups included: only then does Eq. 4 equal Eq. 5
    exactly. Read literally, Eq. 4 would also add -h_i mean_i / std_i + h_b,i to every channel outside the group.
    """
    full = full_precision(x)
    member = membership.to(full.dtype)
    num_channels = member.shape[0]
    mean = full.mean(dim=(2, 3)) @ member / num_channels
    power = full.square().mean(dim=(2, 3)) @ member / num_channels
    occupied = member.sum(dim=0) > 0
    variance = torch.where(occupied, power - mean.square() + epsilon, 1.0)
    ratio = torch.where(occupied, h_scale * torch.rsqrt(variance), 0.0)
    shift = -mean * ratio if h_bias is None else h_bias - mean * ratio
    y = full * (ratio @ member.t())[:, :, None, None] + (shift @ member.t())[:, :, None, None]
    return y.to(x.dtype)


class ActivationModulation(nn.Module):
    """Eq. 3, Eq. 4, then the plain convolution: the form the paper derives the weight form from.

    x [N,I,H,W] -> [N,O,H',W']; needs codes of a grouped layer.
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor, codes: StyleCodes, convolution: EqualizedConv2d) -> Tensor:
        assert codes.membership is not None and codes.h_scale is not None
        half = x.dtype == torch.float16
        with torch.autocast(x.device.type, enabled=False):
            x = group_adain(wide_range(x), codes.z_scale, codes.z_bias, self.epsilon)
            x = group_adagn(x, codes.membership, codes.h_scale, codes.h_bias, self.epsilon)
        return convolution(x.clamp(-HALF_CLAMP, HALF_CLAMP) if half else x)
