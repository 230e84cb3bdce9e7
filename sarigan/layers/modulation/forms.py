"""The two forms of a modulated convolution: folded into its weight (SariGAN Eq. 5-6), or on its input (Eq. 3-4).

Each is (x [N,I,H,W], codes, convolution) -> [N,O,H',W'].
"""

import torch
from torch import Tensor, nn

from sarigan.layers.activation import HALF_CLAMP
from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.modulation.demodulation import channel_affine, demodulation
from sarigan.layers.modulation.group_adagn import group_adagn
from sarigan.layers.modulation.group_adain import group_adain
from sarigan.layers.normalization import full_precision, wide_range
from sarigan.layers.style import StyleCodes


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
            # The weight's own factor is put on its N*I scales instead of its O*I*K*K entries.
            scale = scale * convolution.scale
            offset = None if offset is None else offset * convolution.scale
            if self.demodulate and x.dtype == torch.float16:
                # Demodulation undoes any common factor: without it the scaled input stays in float16's range.
                largest = scale.abs().amax(dim=1, keepdim=True).clamp_min(self.epsilon)
                scale, offset = scale / largest, None if offset is None else offset / largest
        y = convolution(x * scale.to(x.dtype)[:, :, None, None], scaled=False)
        if not self.demodulate:
            return y
        with torch.autocast(x.device.type, enabled=False):
            weight = full_precision(convolution.weight)
            factor = demodulation(weight, scale, self.epsilon)
            constant = None if offset is None else factor * (offset @ weight.sum(dim=(2, 3)).t())
        y = y * factor.to(y.dtype)[:, :, None, None]
        return y if constant is None else y + constant.to(y.dtype)[:, :, None, None]


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
