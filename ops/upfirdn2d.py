"""Upsample by zero insertion, pad, FIR-filter, downsample, in one call (the operator of Crochiere & Rabiner 1983).

Along each axis, with filter f of length K, input x of length L and zero-inserted signal u[up*i] = x[i]:
    y[m] = gain * sum_k f[k] * u_padded[down*m + K-1-k],   u_padded = (pad0 zeros) u (pad1 zeros), len(u) = up*L.
That is a true convolution, as in `scipy.signal.upfirdn`. Negative padding crops.

Written over the inputs it is y[m] = gain * sum_i x[i] f[down*m - up*i + offset] with offset = K-1-pad0. Its adjoint,
x[i] = gain * sum_m y[m] f[down*m - up*i + offset], is the same sum with up and down exchanged, f reversed and offset
K-1-offset: one operator serves the forward pass and the backward pass of every order.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ops._arguments import check_floating, check_integers, check_number, check_same_device
from ops._autograd import Transformable, transforms_active
from ops._extension import is_captured, native_for
from ops._upfirdn2d_reference import filter_kernels, resample, resample_adjoint, reverse

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]


def upfirdn2d(x: Tensor, filter: Tensor, up: Pair = 1, down: Pair = 1, padding: Padding = 0, gain: float = 1.0) -> Tensor:
    """Resample the last two axes of x [N,C,H,W] with a FIR filter.

    filter: [K] for a separable filter (applied along both axes) or [Kh,Kw]; up, down: factor or (x, y) factors;
    padding in pixels of the upsampled image: p, (px, py) or (left, right, top, bottom), negative crops.
    Returns [N,C,H',W'] with H' = (H*up_y + top + bottom - Kh) // down_y + 1, likewise W'.
    Raises ValueError or TypeError naming the argument. Differentiable any number of times in x; the filter is a constant.
    """
    (up_x, up_y), (down_x, down_y) = _pair("up", up), _pair("down", down)
    left, right, top, bottom = _padding(padding)
    height, width = _output_size(x, filter, (up_x, up_y), (down_x, down_y), (left, right, top, bottom), gain)
    filter = filter.detach()
    offset = reverse(filter, (top, left))
    native = native_for(x)
    if native is not None:
        return _Upfirdn2d.call(x, filter, (up_y, up_x), (down_y, down_x), offset, (height, width), False, float(gain), native)
    kernels = filter_kernels(filter, gain, x.dtype)
    if is_captured() or transforms_active():
        return resample(x, filter, (up_y, up_x), (down_y, down_x), offset, (height, width), kernels)
    return _Upfirdn2d.call(x, filter, (up_y, up_x), (down_y, down_x), offset, (height, width), False, float(gain), kernels)


class _Upfirdn2d(Transformable):
    """The operator with derivatives of its own; `form`: the native operators, or the kernels of the reference.

    PyTorch's second derivative of a convolution would compute that of the constant filter too, one convolution a channel.
    """

    @staticmethod
    def forward(
        x: Tensor,
        filter: Tensor,
        up: tuple[int, int],
        down: tuple[int, int],
        offset: tuple[int, int],
        size: tuple[int, int],
        flip: bool,
        gain: float,
        form: Any,
    ) -> Tensor:
        if isinstance(form, list):  # `flip` turns from derivative to derivative
            return (resample_adjoint if flip else resample)(x, filter, up, down, offset, size, form)
        return form.upfirdn2d(x, filter, up, down, offset, size, flip, gain)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, filter, *ctx.constants = inputs
        ctx.size = tuple(x.shape[2:])
        ctx.save_for_backward(filter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (filter,) = ctx.saved_tensors
        up, down, (offset_y, offset_x), _, flip, gain, form = ctx.constants
        offset = reverse(filter, (offset_y, offset_x))
        grad_x = _Upfirdn2d.call(grad, filter, down, up, offset, ctx.size, not flip, gain, form)
        return grad_x, None, None, None, None, None, None, None, None


def _pair(name: str, value: Pair) -> tuple[int, int]:
    x, y = value if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    check_integers(name, (x, y))
    if x < 1 or y < 1:
        raise ValueError(f"{name} must be a positive factor, got {value}")
    return x, y


def _padding(value: Padding) -> tuple[int, int, int, int]:
    sides = tuple(value) if isinstance(value, tuple | list) else (value,) * 4
    check_integers("padding", sides)
    if len(sides) == 2:
        return sides[0], sides[0], sides[1], sides[1]
    if len(sides) != 4:
        raise ValueError(f"padding must be an integer, (x, y) or (left, right, top, bottom), got {value}")
    return sides


def _output_size(
    x: Tensor,
    filter: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    gain: float,
) -> tuple[int, int]:
    """(height, width) of the output, once every argument has been checked."""
    check_floating("x", x)
    if x.ndim != 4:
        raise ValueError(f"x must have four dimensions [N,C,H,W], got shape {tuple(x.shape)}")
    check_floating("filter", filter)
    if filter.ndim not in (1, 2) or filter.numel() == 0:
        raise ValueError(f"filter must have one or two dimensions and at least one tap, got shape {tuple(filter.shape)}")
    check_same_device("filter", filter, x)
    check_number("gain", gain)
    if not math.isfinite(gain):
        raise ValueError(f"gain must be finite, got {gain}")
    height = x.shape[2] * up[1] + padding[2] + padding[3] - filter.shape[0]
    width = x.shape[3] * up[0] + padding[0] + padding[1] - filter.shape[-1]
    if height < 0 or width < 0:
        raise ValueError(
            f"padding {padding} leaves less than one output pixel for x {tuple(x.shape)} and filter {tuple(filter.shape)}"
        )
    return height // down[1] + 1, width // down[0] + 1


def resample_filter(taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)) -> Tensor:
    """The separable low-pass filter [K] with unit sum, float32."""
    filter = torch.tensor(taps, dtype=torch.float32)
    return filter / filter.sum()
