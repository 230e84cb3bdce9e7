"""ADA's pixel blitting (Karras et al. 2020, app. B): mirrored, turned and shifted images, every pixel an exact copy.

The published code sends these transforms through the resampling of the general geometric ones, which is exact up to rounding
only where its filter is symmetric. Here they copy, and what lies beyond an edge is the image mirrored at its outermost pixels.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from sarigan.training.augmentation.image_random import ImageRandom, per_image

MAX_SHIFT = 0.125  # of the width, xint


def blit(images: Tensor, transforms: Collection[str], random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,C,R,R] -> the same shape; xflip, rotate90 and xint where `transforms` names them."""
    if "xflip" in transforms:
        mirrored = random.chosen(p) & (random.uniform() < 0.5)
        images = torch.where(per_image(mirrored), images.flip(3), images)
    if "rotate90" in transforms:
        turns = random.chosen(p) * (4 * random.uniform()).floor()
        images = turned(images, turns)
    if "xint" in transforms:
        chosen = random.chosen(p)
        shift_x, shift_y = (chosen * ((2 * random.uniform() - 1) * MAX_SHIFT * images.shape[3]).round() for _ in range(2))
        images = shifted(images, shift_x, shift_y)
    return images


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Each square image counter-clockwise by turns [n] of 0, 1, 2 or 3 quarters."""
    images = torch.where(per_image(turns >= 2), images.flip(2, 3), images)
    return torch.where(per_image(turns % 2 == 1), images.transpose(2, 3).flip(2), images)


def shifted(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Each image moved right by x [n] and down by y [n] whole pixels, mirrored at the edges."""
    size = images.shape
    rows, columns = (
        mirrored_position(torch.arange(length, device=images.device) - shift[:, None], length).long()
        for shift, length in ((y, size[2]), (x, size[3]))
    )
    images = images.gather(2, rows[:, None, :, None].expand(size))
    return images.gather(3, columns[:, None, None, :].expand(size))


def mirrored_position(position: Tensor, size: int) -> Tensor:
    """Where the infinite image that is mirrored at its first and last pixel takes its value: in 0..size-1."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()
