"""upfirdn2d of PyTorch's functions, and its adjoint: the reference form. `ops.upfirdn2d` has the definition.

Pairs are (vertical, horizontal); `size` is that of the output; `kernels` are those of `filter_kernels`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_OUTER_TAPS = 6


def resample(
    x: Tensor,
    filter: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
    kernels: list[Tensor],
) -> Tensor:
    """x [N,C,H,W] zero-inserted, padded or cropped, convolved with stride `down`."""
    if x.numel() == 0:
        return x.new_zeros(*x.shape[:2], *size) + x.sum()  # the sum keeps the result in a traced graph
    c, h, w = map(int, x.shape[1:])  # constants of a traced graph, whose batch alone may vary
    up_y, up_x = up
    if up_x > 1 or up_y > 1:
        zeros = (0, up_x - 1, 0, 0, 0, up_y - 1)  # behind every pixel and every row
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            x = F.pad(x.reshape(-1, c, h, 1, w, 1), zeros).reshape(-1, c, h * up_y, w * up_x)
        else:
            x = F.pad(x.permute(0, 2, 3, 1).reshape(-1, h, 1, w, 1, c), (0, 0, *zeros))
            x = x.reshape(-1, h * up_y, w * up_x, c).permute(0, 3, 1, 2)
    x = _padded(x, _sides(filter, up, down, offset, (h, w), (int(size[0]), int(size[1]))))
    with torch.autocast(x.device.type, enabled=False):  # the result has the type of x
        for kernel, stride in zip(kernels, _strides(kernels, down), strict=True):
            x = F.conv2d(x, kernel.expand(c, 1, -1, -1), stride=stride, groups=c)
    return x


def resample_adjoint(
    y: Tensor,
    filter: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
    kernels: list[Tensor],
) -> Tensor:
    """The adjoint of `resample`, whose down, up and input size are `up`, `down` and `size`: its steps, last to first."""
    if y.numel() == 0 or 0 in size:
        return y.new_zeros(*y.shape[:2], *size)
    c = y.shape[1]
    sides = _sides(filter, down, up, reverse(filter, offset), size, (y.shape[2], y.shape[3]))
    is_channels_last = y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    for kernel, stride in zip(kernels[::-1], _strides(kernels, up)[::-1], strict=True):
        before = ((side - 1) * step + taps for side, step, taps in zip(y.shape[2:], stride, kernel.shape, strict=True))
        # The input's gradient without the weight's. Of the input itself only size and layout matter.
        x = torch.empty(*y.shape[:2], *before, dtype=y.dtype, device=y.device, memory_format=layout)
        weight, wanted = kernel.expand(c, 1, -1, -1), (True, False, False)
        y = torch.ops.aten.convolution_backward(y, x, weight, None, stride, (0, 0), (1, 1), False, (0, 0), c, wanted)[0]
    y = _padded(y, [-side for side in sides])
    return y[:, :, :: down[0], :: down[1]].contiguous(memory_format=layout)


def _padded(x: Tensor, sides: Sequence[int]) -> Tensor:
    """x with zeros at (left, right, top, bottom), or cropped where that is negative."""
    left, right, top, bottom = sides
    if max(sides) > 0:
        x = F.pad(x, [max(side, 0) for side in sides])
    if min(sides) < 0:
        x = x[:, :, max(-top, 0) : x.shape[2] - max(-bottom, 0), max(-left, 0) : x.shape[3] - max(-right, 0)]
    return x


def _sides(
    filter: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    offset: tuple[int, int],
    input_size: tuple[int, int],
    output_size: tuple[int, int],
) -> tuple[int, int, int, int]:
    """The padding (left, right, top, bottom) of the upsampled input that all pixels of the output need, no more."""
    top, left = reverse(filter, offset)
    bottom = (output_size[0] - 1) * down[0] + filter.shape[0] - input_size[0] * up[0] - top
    right = (output_size[1] - 1) * down[1] + filter.shape[-1] - input_size[1] * up[1] - left
    return left, right, top, bottom


def reverse(filter: Tensor, offset: tuple[int, int]) -> tuple[int, int]:
    """K-1-offset along both axes: turns padding into offset and back, and an operator's offset into its adjoint's."""
    return filter.shape[0] - 1 - offset[0], filter.shape[-1] - 1 - offset[1]


def filter_kernels(filter: Tensor, gain: float, dtype: torch.dtype) -> list[Tensor]:
    """One kernel [Kh,Kw], or [1,K] and [K,1] of a long separable filter.

    Depthwise cross-correlation with the flipped filter is the convolution of the definition. Short separable filters are
    taken as one K x K pass: two passes over memory cost more than the multiplications they save.
    """
    taps = filter.to(torch.float64 if dtype == torch.float64 else torch.float32).flip(tuple(range(filter.ndim)))
    if filter.ndim == 1 and len(filter) <= MAX_OUTER_TAPS:
        taps = taps[:, None] * taps[None, :]
    scaled = (taps * gain).to(dtype)
    return [scaled] if taps.ndim == 2 else [scaled[None, :], taps.to(dtype)[:, None]]


def _strides(kernels: list[Tensor], down: tuple[int, int]) -> list[tuple[int, int]]:
    return [down] if len(kernels) == 1 else [(1, down[1]), (down[0], 1)]
