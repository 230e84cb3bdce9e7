"""Bias, activation, gain and clamp in one call: clamp(gain * act(x + b)).

The gain restores the variance an activation takes away: sqrt(2) for (leaky) ReLU on normal inputs
(He et al. 2015, "Delving Deep into Rectifiers").

The fused form keeps only its output y for the backward pass: y has the sign of x + b (for gain > 0), and |y| equals the
clamp where the clamp acted. With m(y) = dy/dx, the derivative t -> (t + c) * m(y) is linear in t and in the per-channel
constant c, so it is its own derivative and one operator serves every order.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ops._arguments import check_floating, check_number, check_same_device
from ops._autograd import Transformable
from ops._extension import native_for

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
    Raises ValueError or TypeError naming the argument. Differentiable any number of times.
    """
    _check(x, bias, activation, gain, clamp, negative_slope)
    gain = DEFAULT_GAINS[activation] if gain is None else float(gain)
    slope = {"linear": 1.0, "relu": 0.0, "leaky_relu": float(negative_slope)}[activation]
    native = native_for(x)
    if native is None:
        return _reference(x, bias, activation, gain, clamp, slope)
    if bias is not None:
        bias = bias.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    return _BiasAct.call(x, bias, slope, gain, -1.0 if clamp is None else float(clamp), native)


def _reference(x: Tensor, bias: Tensor | None, activation: str, gain: float, clamp: float | None, slope: float) -> Tensor:
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if slope == 0.0:
        x = torch.relu(x)  # 0 of -inf, not 0 * inf
    elif activation == "leaky_relu":
        x = F.leaky_relu(x, slope)
    if gain != 1.0:
        x = x * gain
    largest = torch.finfo(x.dtype).max  # PyTorch refuses a bound that the type cannot hold
    return x if clamp is None else x.clamp(-clamp, clamp) if clamp <= largest else x


class _BiasAct(Transformable):
    """The native forward pass; `clamp` < 0 means none."""

    @staticmethod
    def forward(x: Tensor, bias: Tensor | None, slope: float, gain: float, clamp: float, native: Any) -> Tensor:
        return native.bias_act(x, bias, slope, gain, clamp)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, _, *ctx.constants = inputs
        slope, _, clamp, _ = ctx.constants
        # The derivative of a linear one without clamp is the gain, whatever y.
        ctx.save_for_backward(*([] if slope == 1.0 and clamp < 0 else [output]))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.saved_tensors[0] if ctx.saved_tensors else None
        grad_x, grad_bias = _Derivative.call(grad, None, y, *ctx.constants, ctx.needs_input_grad[1])
        return grad_x, grad_bias if ctx.needs_input_grad[1] else None, None, None, None, None


class _Derivative(Transformable):
    """(t + c) * m(y) and, if `with_sum`, its sum over each channel (else an empty tensor)."""

    @staticmethod
    def forward(
        t: Tensor, c: Tensor | None, y: Tensor | None, slope: float, gain: float, clamp: float, native: Any,
        with_sum: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        return native.bias_act_derivative(t, c, y, slope, gain, clamp, with_sum)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        t, c, y, *ctx.constants, ctx.with_sum = inputs
        ctx.save_for_backward(*([] if y is None else [y]))
        if not ctx.with_sum:
            ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_sum: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.saved_tensors[0] if ctx.saved_tensors else None
        grad_t, grad_c = _Derivative.call(grad, grad_sum if ctx.with_sum else None, y, *ctx.constants, ctx.needs_input_grad[1])
        return grad_t, grad_c if ctx.needs_input_grad[1] else None, None, None, None, None, None, None


def _check(
    x: Tensor,
    bias: Tensor | None,
    activation: str,
    gain: float | None,
    clamp: float | None,
    negative_slope: float,
) -> None:
    if activation not in DEFAULT_GAINS:
        raise ValueError(f"activation must be one of {', '.join(DEFAULT_GAINS)}, got {activation!r}")
    check_floating("x", x)
    if x.ndim < 2:
        raise ValueError(f"x must have at least two dimensions [N,C,...], got shape {tuple(x.shape)}")
    if bias is not None:
        check_floating("bias", bias)
        if bias.shape != (x.shape[1],):
            raise ValueError(f"bias must have shape ({x.shape[1]},) to match x {tuple(x.shape)}, got {tuple(bias.shape)}")
        check_same_device("bias", bias, x)
    for name, value in (("gain", gain), ("clamp", clamp), ("negative_slope", negative_slope)):
        if value is not None:
            check_number(name, value)
    if gain is not None and not math.isfinite(gain):
        raise ValueError(f"gain must be finite or None, got {gain}")
    if clamp is not None and not clamp > 0:
        raise ValueError(f"clamp must be positive or None, got {clamp}")
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must not be negative, got {negative_slope}")
