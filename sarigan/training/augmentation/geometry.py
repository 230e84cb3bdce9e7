"""ADA's general geometric transforms (Karras et al. 2020, app. B): scale, rotate, aniso and xfrac in one resampling.

The image is doubled with the orthogonal wavelet filter sym6, sampled bilinearly on a doubled grid of its new positions, and
halved with the transposed filter, so that nothing aliases and the identity is exact. What lies beyond an edge is the image
mirrored at its outermost pixels. The published code pads by as much as the batch needs, which it reads from the device, sees
black beyond three widths, and takes the middle of the filter for its centre, which moves a turned image by up to 0.4 pixels;
here positions are mirrored and the centre is the filter's own.
"""

import math
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ops import upfirdn2d
from sarigan.training.augmentation.blit import mirrored_position
from sarigan.training.augmentation.image_random import ImageRandom, per_image

# Daubechies' symlet of 6 vanishing moments, unit norm: sum sqrt(2), orthogonal to its even shifts.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
# The centre of the filter is at this tap: it, not the middle of the taps, is where a pixel goes. Sample m of the doubled image
# sees pixel i through tap m - 2i + 5, so it stands at pixel (m + 5 - CENTRE) / 2.
CENTRE = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)
REACH = 3  # pixels that the filter sees beyond an edge of the image
BORDER = 3  # pixels beyond an edge that are doubled as well, so that the identity is exact there: sym6 is not symmetric
MARGIN = 5  # samples of the doubled grid that halving sees beyond an edge of the result
LOG2_SCALE = 0.2  # deviation of log2 of a scale, and of a ratio of sides
FRACTION = 0.125  # deviation of a shift, in widths


def warp(images: Tensor, transforms: Collection[str], random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,C,R,R] -> the same shape; an image for which no transform is chosen stays as it is."""
    size = images.shape[3]
    inverse = torch.eye(3, device=images.device, dtype=images.dtype).expand(len(images), 3, 3)
    moved = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    # One of the two rotations, before and after aniso, is made with probability p in all.
    p_rotate = 1 - (1 - p).clamp(0, 1).sqrt()

    def rotate() -> tuple[Tensor, Tensor]:
        chosen, angle = random.chosen(p_rotate), (2 * random.uniform() - 1) * math.pi
        return chosen, affine(angle.cos(), -angle.sin(), angle.sin(), angle.cos())

    def stretch(same: bool) -> tuple[Tensor, Tensor]:
        chosen, factor = random.chosen(p), torch.exp2(LOG2_SCALE * random.normal())
        return chosen, affine(1 / factor, 0 * factor, 0 * factor, 1 / factor if same else factor)

    def shift() -> tuple[Tensor, Tensor]:
        chosen, (x, y) = random.chosen(p), (FRACTION * size * random.normal(2)).unbind(1)
        return chosen, affine(1 + 0 * x, 0 * x, 0 * x, 1 + 0 * x, -x, -y)

    order = {"scale": lambda: stretch(True), "rotate": rotate, "aniso": lambda: stretch(False), "xfrac": shift}
    for name in ("scale", "rotate", "aniso", "rotate", "xfrac"):
        if name in transforms:
            chosen, matrix = order[name]()
            inverse = torch.where(chosen[:, None, None], _product(inverse, matrix), inverse)
            moved = moved | chosen
    return torch.where(per_image(moved), resampled(images, inverse), images)


def affine(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:
    """[n,3,3] of numbers [n]: (column, row) -> (xx * column + xy * row + x, yx * column + yy * row + y)."""
    zero = 0 * xx
    x, y = zero if x is None else x, zero if y is None else y
    return torch.stack([xx, xy, x, yx, yy, y, zero, zero, zero + 1], dim=1).reshape(-1, 3, 3)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of [n,3,3], never in TensorFloat-32, whose 10 bits are too few for positions."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(2)


def resampled(images: Tensor, inverse: Tensor) -> Tensor:
    """images [n,C,R,R] at new positions: a pixel of the result looks at inverse [n,3,3] times its own place.

    Places are (column, row, 1) in pixels from the centre. Differentiable any number of times in the images.
    """
    size = images.shape[3]
    taps, reversed_taps = filters(images.device, images.dtype)
    beyond = REACH + BORDER
    around = mirrored_position(torch.arange(-beyond, size + beyond, device=images.device), size)
    extended = images.index_select(2, around).index_select(3, around)
    doubled = upfirdn2d(extended, taps, up=2, padding=(6 - 2 * REACH, 5 - 2 * REACH) * 2, gain=4)
    middle = (size - 1) / 2
    grid = torch.arange(-MARGIN, 2 * size + MARGIN, device=images.device, dtype=images.dtype)
    place = (grid + 5 - CENTRE) / 2 - middle
    rows = [
        row[:, 0, None, None] * place + row[:, 1, None, None] * place[:, None] + (row[:, 2, None, None] + middle)
        for row in (inverse[:, 0], inverse[:, 1])
    ]
    near = [(position - middle).abs() <= middle + BORDER for position in rows]
    inside = [torch.where(at, x, mirrored_position(x, size)) for at, x in zip(near, rows, strict=True)]
    samples = 2 * (torch.stack(inside, dim=3) + BORDER) - 5 + CENTRE
    sampled = _Sample.apply(doubled, samples * (2 / (doubled.shape[3] - 1)) - 1)
    return upfirdn2d(sampled, reversed_taps, down=2)


@lru_cache(maxsize=8)
def filters(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The filter of unit sum and its reverse, copied to a device once."""
    taps = torch.tensor(SYM6, dtype=torch.float64) / math.sqrt(2)
    return taps.to(device, dtype), taps.flip(0).to(device, dtype)


class _Sample(torch.autograd.Function):
    """Bilinear samples of x [n,C,H,W] at constant places [n,H',W',2], which are -1..1 between the outermost pixels.

    It is linear in x: PyTorch's own has no second derivative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = x.shape
        return torch.grid_sampler_2d(x, places, 0, 0, True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _SampleAdjoint.apply(grad, ctx.saved_tensors[0], ctx.size), None


class _SampleAdjoint(torch.autograd.Function):
    """The transposed of `_Sample`: adds every number up at the pixels that it was interpolated from."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, places: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        backward = torch.ops.aten.grid_sampler_2d_backward
        return backward(grad, grad.new_empty(1).expand(size), places, 0, 0, True, (True, False))[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Sample.apply(grad, ctx.saved_tensors[0]), None, None
