"""Fully connected layer with equalised learning rate (Karras et al. 2018, "Progressive Growing of GANs", sec. 4.1)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ops import bias_act


class EqualizedLinear(nn.Module):
    """y = act(x W^T * m/sqrt(fan_in) + m*b) with W ~ N(0, 1/m^2): every weight learns at the same relative speed.

    in_features, out_features: sizes of the last axis; learning_rate_multiplier m; bias_init: initial value of the bias;
    activation: `linear` or `leaky_relu` (gain sqrt(2)). x [N,in_features] -> [N,out_features].
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        learning_rate_multiplier: float = 1.0,
        bias_init: float = 0.0,
        activation: str = "linear",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / learning_rate_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / learning_rate_multiplier))
        self.weight_scale = learning_rate_multiplier / math.sqrt(in_features)
        self.bias_scale = learning_rate_multiplier
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias_scale == 1.0 else self.bias * self.bias_scale
        x = x * self.weight_scale  # fewer entries than the weight has
        if self.activation == "linear":
            return F.linear(x, self.weight, bias)
        return bias_act(F.linear(x, self.weight), bias, self.activation)
