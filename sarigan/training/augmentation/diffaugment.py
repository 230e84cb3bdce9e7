"""DiffAugment (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training"): color, translation, cutout."""

from collections.abc import Collection

import torch
from torch import Tensor

from sarigan.training.augmentation.image_random import ImageRandom, per_image

MAX_SHIFT = 0.125  # of the width
CUTOUT = 0.5  # side of the square, in widths


def diffaugment(images: Tensor, transforms: Collection[str], random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,3,R,R] in about -1..1 -> the same shape; each policy with probability p, published is 1."""
    if "color" in transforms:
        images = torch.where(per_image(random.chosen(p)), recolored(images, *(random.uniform() for _ in range(3))), images)
    if "translation" in transforms:
        chosen, most = random.chosen(p), int(images.shape[3] * MAX_SHIFT + 0.5)
        shifts = [chosen * ((2 * most + 1) * random.uniform()).floor().sub(most) for _ in range(2)]
        images = translated(images, *shifts)
    if "cutout" in transforms:
        images = torch.where(per_image(random.chosen(p)), cut_out(images, random.uniform(), random.uniform()), images)
    return images


def recolored(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Plus b - 0.5; 2 s times as far from the pixel's grey; c + 0.5 times as far from the image's mean; b, s, c [n] in 0..1."""
    images = images + per_image(brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * per_image(2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * per_image(contrast + 0.5)


def translated(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Each image moved right by x [n] and down by y [n] whole pixels; zeros come in."""
    for axis, shift in ((2, y), (3, x)):
        length = images.shape[axis]
        source = torch.arange(length, device=images.device) - shift[:, None].long()
        shape = (-1, 1, length, 1) if axis == 2 else (-1, 1, 1, length)
        taken = images.gather(axis, source.clamp(0, length - 1).reshape(shape).expand(images.shape))
        images = taken.masked_fill(((source < 0) | (source >= length)).reshape(shape), 0)
    return images


def cut_out(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Zero in a square of half the width whose centre is a uniform pixel, x and y [n] in 0..1; cut at the edges."""
    size = images.shape[3]
    side = int(size * CUTOUT + 0.5)
    place = torch.arange(size, device=images.device)
    starts = [(centre * (size + 1 - side % 2)).floor() - side // 2 for centre in (x, y)]
    inside_x, inside_y = ((place >= start[:, None]) & (place < start[:, None] + side) for start in starts)
    return images.masked_fill(inside_y[:, None, :, None] & inside_x[:, None, None, :], 0)
