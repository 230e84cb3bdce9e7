"""Convolutions whose weight gradient on a CPU is K*K matrix products instead of the library's own kernel.

Three bilinear maps that are each other's derivatives, of a weight w [O,I,K,K], pixels x [N,I,H,W] and y [N,O,h,w]:
    convolve(x, w)        y[n,o,p] = sum_{i,k} w[o,i,k] x[n,i,s*p + k - pad]
    spread(y, w)          its adjoint in x, a transposed convolution
    correlate(x, y)       its adjoint in w: for each k one product of [O,N*h*w] and [N*h*w,I] matrices
Differentiation of any order stays among the three. oneDNN's kernel for the third runs at a third to a half of the matrix rate
in the shapes of a generator (docs/benchmarks.md); the products run at nearly all of it. Whatever is not float32 or float64 in
channels_last on a CPU, and code that is compiled, traced or cast automatically, goes to PyTorch's own functions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ops._autograd import Transformable
from ops._extension import is_captured

# Below so many channels on either side the products are too thin to be worth it.
_FEWEST_CHANNELS = 16


def conv2d(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """`torch.nn.functional.conv2d` without bias. x [N,I,H,W], weight [O,I,K,K] -> [N,O,h,w]."""
    if not _is_worthwhile(x, weight):
        return F.conv2d(x, weight, stride=stride, padding=padding)
    return _Convolve.call(x, weight, stride, padding)


def conv_transpose2d(y: Tensor, weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """`torch.nn.functional.conv_transpose2d` without bias. y [N,O,h,w], weight [O,I,K,K] -> [N,I,H,W]."""
    if not _is_worthwhile(y, weight):
        return F.conv_transpose2d(y, weight, stride=stride, padding=padding)
    height, width = (stride * (side - 1) + weight.shape[2] - 2 * padding for side in y.shape[2:])
    return _Spread.call(y, weight, stride, padding, (height, width))


def _is_worthwhile(pixels: Tensor, weight: Tensor) -> bool:
    return (
        pixels.device.type == "cpu"
        and weight.requires_grad
        and torch.is_grad_enabled()
        and min(weight.shape[:2]) >= _FEWEST_CHANNELS
        and pixels.dtype == weight.dtype
        and pixels.dtype in (torch.float32, torch.float64)
        and pixels.is_contiguous(memory_format=torch.channels_last)
        and pixels.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not is_captured()
    )


class _Convolve(Transformable):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if _is_wanted(ctx, 0):
            grad_x = _Spread.call(grad, weight, ctx.stride, ctx.padding, tuple(x.shape[2:]))
        if _is_wanted(ctx, 1):
            grad_weight = _Correlate.call(x, grad, weight.shape[2], ctx.stride, ctx.padding)
        return grad_x, grad_weight, None, None


class _Spread(Transformable):
    @staticmethod
    def forward(y: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
        # Rows and columns that the stride left out at the end have received nothing.
        short = [stride * (side - 1) + weight.shape[2] - 2 * padding for side in y.shape[2:]]
        missing = [whole - side for whole, side in zip(size, short, strict=True)]
        return F.conv_transpose2d(y, weight, stride=stride, padding=padding, output_padding=missing)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        y, weight, ctx.stride, ctx.padding, _ = inputs
        ctx.save_for_backward(y, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, weight = ctx.saved_tensors
        grad_y = grad_weight = None
        if _is_wanted(ctx, 0):
            grad_y = _Convolve.call(grad, weight, ctx.stride, ctx.padding)
        if _is_wanted(ctx, 1):
            grad_weight = _Correlate.call(grad, y, weight.shape[2], ctx.stride, ctx.padding)
        return grad_y, grad_weight, None, None, None


class _Correlate(Transformable):
    @staticmethod
    def forward(x: Tensor, y: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
        pixels = F.pad(x, (padding,) * 4).permute(0, 2, 3, 1)  # [N,H,W,I]
        matrix = y.permute(1, 0, 2, 3).reshape(y.shape[1], -1)  # [O,N*h*w], a view of channels_last
        height, width = ((side - 1) * stride + 1 for side in y.shape[2:])
        products = y.new_empty(kernel_size, kernel_size, y.shape[1], x.shape[1])
        for row in range(kernel_size):
            for column in range(kernel_size):
                window = pixels[:, row : row + height : stride, column : column + width : stride]
                torch.mm(matrix, window.reshape(-1, x.shape[1]), out=products[row, column])
        return products.permute(2, 3, 0, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, y, _, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        grad_x = grad_y = None
        if _is_wanted(ctx, 0):
            grad_x = _Spread.call(y, grad, ctx.stride, ctx.padding, tuple(x.shape[2:]))
        if _is_wanted(ctx, 1):
            grad_y = _Convolve.call(x, grad, ctx.stride, ctx.padding)
        return grad_x, grad_y, None, None, None


def _is_wanted(ctx: Any, index: int) -> bool:
    """Whether this backward pass needs the gradient of an input.

    `needs_input_grad` says only whether it has one at all: gradient penalties ask for that of the images, and the weight's
    would be computed for nothing.
    """
    if not ctx.needs_input_grad[index]:
        return False
    node = ctx.next_functions[index][0]
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, RuntimeError, TypeError):  # not within a backward pass of the engine, or a leaf that captures
        return True
