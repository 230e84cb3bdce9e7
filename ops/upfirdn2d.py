"""Upsample by zero insertion, pad, FIR-filter, downsample, in one call (the operator of Crochiere & Rabiner 1983).

Along each axis, with filter f of length K, input x of length L and zero-inserted signal u[up*i] = x[i]:
    y[m] = gain * sum_k f[k] * u_padded[down*m + K-1-k],   u_padded = (pad0 zeros) u (pad1 zeros), len(u) = up*L.
That is a true convolution, as in `scipy.signal.upfirdn`. Negative padding crops.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]
MAX_OUTER_TAPS = 6


def upfirdn2d(x: Tensor, filter: Tensor, up: Pair = 1, down: Pair = 1, padding: Padding = 0, gain: float = 1.0) -> Tensor:
    """Resample the last two axes of x [N,C,H,W] with a FIR filter.

    filter: [K] for a separable filter (applied along both axes) or [Kh,Kw]; up, down: factor or (x, y) factors;
    padding in pixels of the upsampled image: p, (px, py) or (left, right, top, bottom), negative crops.
    Returns [N,C,H',W'] with H' = (H*up_y + top + bottom - Kh) // down_y + 1, likewise W'.
    Raises ValueError or TypeError naming the argument. Differentiable twice in x; the filter is a constant.
    """
    (up_x, up_y), (down_x, down_y) = _pair("up", up), _pair("down", down)
    left, right, top, bottom = _padding(padding)
    _check(x, filter, (up_x, up_y), (down_x, down_y), (left, right, top, bottom))
    n, c, h, w = x.shape
    if up_x > 1 or up_y > 1:
        x = x.reshape(n, c, h, 1, w, 1)
        x = F.pad(x, (0, up_x - 1, 0, 0, 0, up_y - 1)).reshape(n, c, h * up_y, w * up_x)
    x = F.pad(x, (left, right, top, bottom))
    # Depthwise cross-correlation with the flipped filter is the convolution of the definition. Short separable filters
    # are taken as one K x K pass: two passes over memory cost more than the multiplications they save.
    if filter.ndim == 1 and len(filter) <= MAX_OUTER_TAPS:
        filter = filter[:, None] * filter[None, :]
    taps = filter.to(x.dtype).flip(tuple(range(filter.ndim)))
    if filter.ndim == 2:
        return F.conv2d(x, (taps * gain).expand(c, 1, -1, -1), stride=(down_y, down_x), groups=c)
    x = F.conv2d(x, (taps * gain).reshape(1, 1, 1, -1).expand(c, -1, -1, -1), stride=(1, down_x), groups=c)
    return F.conv2d(x, taps.reshape(1, 1, -1, 1).expand(c, -1, -1, -1), stride=(down_y, 1), groups=c)


def _pair(name: str, value: Pair) -> tuple[int, int]:
    x, y = (value, value) if isinstance(value, int) else value
    if x < 1 or y < 1:
        raise ValueError(f"{name} must be a positive factor, got {value}")
    return x, y


def _padding(value: Padding) -> tuple[int, int, int, int]:
    if isinstance(value, int):
        return value, value, value, value
    if len(value) == 2:
        return value[0], value[0], value[1], value[1]
    if len(value) != 4:
        raise ValueError(f"padding must be an integer, (x, y) or (left, right, top, bottom), got {value}")
    return value


def _check(x: Tensor, filter: Tensor, up: tuple[int, int], down: tuple[int, int], padding: tuple[int, int, int, int]) -> None:
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x.dtype}")
    if x.ndim != 4:
        raise ValueError(f"x must have four dimensions [N,C,H,W], got shape {tuple(x.shape)}")
    if filter.ndim not in (1, 2) or filter.numel() == 0:
        raise ValueError(f"filter must have one or two dimensions and at least one tap, got shape {tuple(filter.shape)}")
    if filter.device != x.device:
        raise ValueError(f"filter must be on the device of x ({x.device}), got {filter.device}")
    taps_y, taps_x = filter.shape if filter.ndim == 2 else (len(filter), len(filter))
    height = x.shape[2] * up[1] + padding[2] + padding[3] - taps_y
    width = x.shape[3] * up[0] + padding[0] + padding[1] - taps_x
    if height < 0 or width < 0:
        raise ValueError(
            f"padding {padding} leaves less than one output pixel for x {tuple(x.shape)} and filter {tuple(filter.shape)}"
        )


def resample_filter(taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)) -> Tensor:
    """The separable low-pass filter [K] with unit sum, float32."""
    filter = torch.tensor(taps, dtype=torch.float32)
    return filter / filter.sum()
