"""Bias followed by leaky ReLU, the nonlinearity of every convolution here."""

import torch
from torch import Tensor, nn

from ops import bias_act


class BiasLeakyReLU(nn.Module):
    """sqrt(2) * leaky_relu(x + b, 0.2) with b = 0 at the start. x [N,C,...] keeps its shape."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor, gain: float | None = None) -> Tensor:
        return bias_act(x, self.bias, "leaky_relu", gain=gain)
