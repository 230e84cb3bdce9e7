"""Bias, activation, gain and clamp in one call: clamp(gain * act(x + b)).

The gain restores the variance an activation takes away: sqrt(2) for (leaky) ReLU on normal inputs
(He et al. 2015, "Delving Deep into Rectifiers").
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

DEFAULT_GAINS = {"linear": 1.0, "relu": math.sqrt(2.0), "leaky_relu": math.sqrt(2.0)}


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    activation: str = "leaky_relu",
    gain: float | None = None,
    clamp: float | None = None,
    negative_slope: float = 0.2,
) -> Tensor:
    """clamp(gain * activation(x + bias), -clamp, clamp).

    x [N,C,...] (at least two dimensions), bias [C] or None; activation is `linear`, `relu` or `leaky_relu`;
    gain defaults to 1 for `linear` and sqrt(2) otherwise; clamp None means no clamp. Returns the shape and dtype of x.
    Raises ValueError or TypeError naming the argument. Differentiable twice.
    """
    _check(x, bias, activation, clamp)
    gain = DEFAULT_GAINS[activation] if gain is None else float(gain)
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if activation == "leaky_relu":
        x = F.leaky_relu(x, negative_slope)
    elif activation == "relu":
        x = torch.relu(x)
    if gain != 1.0:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def _check(x: Tensor, bias: Tensor | None, activation: str, clamp: float | None) -> None:
    if activation not in DEFAULT_GAINS:
        raise ValueError(f"activation must be one of {', '.join(DEFAULT_GAINS)}, got {activation!r}")
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"x must have at least two dimensions [N,C,...], got shape {tuple(x.shape)}")
    if bias is not None and bias.shape != (x.shape[1],):
        raise ValueError(f"bias must have shape ({x.shape[1]},) to match x {tuple(x.shape)}, got {tuple(bias.shape)}")
    if clamp is not None and not clamp > 0:
        raise ValueError(f"clamp must be positive or None, got {clamp}")
