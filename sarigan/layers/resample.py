"""FIR resampling of images and features by a factor of two (Karras et al. 2020, StyleGAN2; filter [1,3,3,1])."""

from torch import Tensor, nn

from ops import upfirdn2d
from ops.upfirdn2d import resample_filter

DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


class Resample2d(nn.Module):
    """x [N,C,H,W] -> [N,C,H',W']: zero-insert by `up`, low-pass filter, keep every `down`-th pixel.

    `padding` is (before, after) on both axes, in pixels of the upsampled image. The gain up^2 keeps the mean.
    """

    filter: Tensor

    def __init__(
        self, padding: tuple[int, int], up: int = 1, down: int = 1, gain: float = 1.0, taps: tuple[float, ...] = DEFAULT_TAPS
    ) -> None:
        super().__init__()
        self.register_buffer("filter", resample_filter(taps), persistent=False)
        self.padding = (*padding, *padding)
        self.up, self.down, self.gain = up, down, gain

    def forward(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self.filter, up=self.up, down=self.down, padding=self.padding, gain=self.gain)


def upsample_2x(taps: tuple[float, ...] = DEFAULT_TAPS) -> Resample2d:
    """[N,C,H,W] -> [N,C,2H,2W]."""
    p = len(taps) - 2
    return Resample2d(((p + 1) // 2 + 1, p // 2), up=2, gain=4.0, taps=taps)


def downsample_2x(taps: tuple[float, ...] = DEFAULT_TAPS) -> Resample2d:
    """[N,C,H,W] -> [N,C,H/2,W/2]."""
    p = len(taps) - 2
    return Resample2d(((p + 1) // 2, p // 2), down=2, taps=taps)
