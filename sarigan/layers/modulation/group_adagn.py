"""AdaGN: adaptive group normalisation by the inter-group codes (SariGAN Eq. 4)."""

import torch
from torch import Tensor

from sarigan.layers.normalization import full_precision


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
