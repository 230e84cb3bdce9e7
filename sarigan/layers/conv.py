"""Convolution with equalised learning rate, and with FIR-filtered resampling folded in (Karras et al. 2020, StyleGAN2)."""

import math

import torch
from torch import Tensor, nn

from ops import conv2d, conv_transpose2d
from sarigan.layers.resample import DEFAULT_TAPS, Resample2d


class EqualizedConv2d(nn.Module):
    """A bias-free convolution, W ~ N(0,1) scaled by 1/sqrt(I*K*K) at run time; without that if not `scaled`.

    up: zero-insertion by a stride-2 transposed convolution, then the FIR filter: [N,I,H,W] -> [N,O,2H,2W].
    down: the FIR filter, then a stride-2 convolution: [N,I,H,W] -> [N,O,H/2,W/2]. Otherwise "same" padding.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, up: bool = False, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.up, self.down = up, down
        self.padding = kernel_size // 2
        taps = len(DEFAULT_TAPS)
        self.resample: Resample2d | None = None
        if up:
            # conv_transpose2d gives 2H + K - 2 pixels; the filter must leave 2H.
            p = taps + 1 - kernel_size
            self.resample = Resample2d(((p + 1) // 2, p // 2), gain=4.0)
        elif down:
            p = taps - 2 + kernel_size - 1
            # With a 1x1 kernel, filtering only the pixels that the stride keeps is the same and four times cheaper.
            self.resample = Resample2d(((p + 1) // 2, p // 2), down=2 if kernel_size == 1 else 1)

    def forward(self, x: Tensor, scaled: bool = True) -> Tensor:
        weight = self.weight * self.scale if scaled else self.weight
        if self.up:
            assert self.resample is not None
            return self.resample(conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        if self.down:
            assert self.resample is not None
            return conv2d(self.resample(x), weight, stride=1 if self.resample.down == 2 else 2)
        return conv2d(x, weight, padding=self.padding)
