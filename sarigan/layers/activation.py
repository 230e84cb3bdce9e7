"""What follows a convolution: noise with a learned strength (Karras et al. 2019, StyleGAN, sec. 3.2), bias, leaky ReLU."""

import torch
from torch import Tensor, nn

from ops import bias_act

# float16 ends at 65504: features are held far below, as in Karras et al. 2020 (StyleGAN2-ADA, appendix D).
HALF_CLAMP = 256.0


class NoiseInjection(nn.Module):
    """x + strength * noise. One scalar strength (StyleGAN2), or one per channel (StyleGAN: `num_channels`); both start at 0.

    x [N,C,H,W]; noise [N,1,H,W] or None, which adds nothing.
    """

    def __init__(self, num_channels: int | None = None) -> None:
        super().__init__()
        shape = (1,) if num_channels is None else (num_channels, 1, 1)
        self.strength = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return x
        return x + (self.strength * noise).to(x.dtype)


class BiasLeakyReLU(nn.Module):
    """sqrt(2) * leaky_relu(x + b, 0.2) with b = 0 at the start, clamped to +-256 in float16. x [N,C,...] keeps its shape."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, gain: float | None = None) -> Tensor:
        clamp = HALF_CLAMP if x.dtype == torch.float16 else None
        return bias_act(x, self.bias, "leaky_relu", gain=gain, clamp=clamp)
