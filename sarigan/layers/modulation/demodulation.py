"""Modulation folded into the convolution's weight, then demodulated (SariGAN Eq. 6; Karras et al. 2020, StyleGAN2, Eq. 1-3)."""

import torch
from torch import Tensor, nn

from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.normalization import full_precision
from sarigan.layers.style import StyleCodes, channel_affine


class WeightModulation(nn.Module):
    """w' = f_i w_oik, w'' = w' / sqrt(sum_ik w'^2 + epsilon), as scale -> one shared convolution -> scale.

    The per-sample weight w'' is never formed: conv_{w''}(x) = d_o conv_w(f x) exactly, with
    d_o = 1/sqrt(sum_i f_i^2 sum_k w_oik^2 + epsilon). With an offset a (codes with biases) the output gains
    d_o sum_ik w_oik a_i, which is the convolution of the constant image a away from zero-padded borders.
    In float16 the scale of every sample is divided by its largest entry first, which the demodulation takes back.
    x [N,I,H,W] -> [N,O,H',W'].
    """

    def __init__(self, demodulate: bool = True, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.demodulate, self.epsilon = demodulate, epsilon

    def forward(self, x: Tensor, codes: StyleCodes, convolution: EqualizedConv2d) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scale, offset = channel_affine(codes, self.epsilon)
            if self.demodulate and x.dtype == torch.float16:
                # Demodulation undoes any common factor: without it the scaled input stays in float16's range.
                largest = scale.abs().amax(dim=1, keepdim=True).clamp_min(self.epsilon)
                scale, offset = scale / largest, None if offset is None else offset / largest
        y = convolution(x * scale.to(x.dtype)[:, :, None, None])
        if not self.demodulate:
            return y
        with torch.autocast(x.device.type, enabled=False):
            weight = full_precision(convolution.weight) * convolution.scale
            power = scale.square() @ weight.square().sum(dim=(2, 3)).t()
            demodulation = torch.rsqrt(power + self.epsilon)
            constant = None if offset is None else demodulation * (offset @ weight.sum(dim=(2, 3)).t())
        y = y * demodulation.to(y.dtype)[:, :, None, None]
        return y if constant is None else y + constant.to(y.dtype)[:, :, None, None]
