"""Bias followed by leaky ReLU, the nonlinearity of every convolution here."""

import torch
from torch import Tensor, nn

from ops import bias_act

# float16 ends at 65504: features are held far below, as in Karras et al. 2020 (StyleGAN2-ADA, appendix D).
HALF_CLAMP = 256.0


class BiasLeakyReLU(nn.Module):
    """sqrt(2) * leaky_relu(x + b, 0.2) with b = 0 at the start, clamped to +-256 in float16. x [N,C,...] keeps its shape."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, gain: float | None = None) -> Tensor:
        clamp = HALF_CLAMP if x.dtype == torch.float16 else None
        return bias_act(x, self.bias, "leaky_relu", gain=gain, clamp=clamp)
