"""A convolution whose output has ceil(size / stride) rows and columns, as TensorFlow's padding "SAME", which both papers use.

An odd row of padding goes to the bottom, so a convolution of stride 2 pads 0 and 1 (3x3) or 1 and 2 (5x5) pixels.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class SameConvolution(nn.Module):
    """[N,I,H,W] -> [N,O,ceil(H/s),ceil(W/s)], with its activation. Glorot's uniform weights, zero biases."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1,
        activation: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, dilation=dilation)
        self.activation = nn.Identity() if activation is None else activation
        nn.init.xavier_uniform_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        vertical, horizontal = (self._padding(size) for size in x.shape[2:])
        # Beforehand: a convolution that pads a 1x1 image itself has undefined gradients of weights in bfloat16 on a CPU.
        return self.activation(self.convolution(F.pad(x, (*horizontal, *vertical))))

    def _padding(self, size: int) -> tuple[int, int]:
        """Before and after one axis."""
        stride, reach = self.convolution.stride[0], self.convolution.dilation[0] * (self.convolution.kernel_size[0] - 1) + 1
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        return total // 2, total - total // 2
