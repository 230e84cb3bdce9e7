"""The augmentation pipeline of ADA (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", app. B).

Every transform is made of an image with probability p, which one number sets for all of them. At p < 1 a transform whose
draws are uniform over a group can be undone in distribution, so that the generator learns the images as they are.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from sarigan.training.augmentation.blit import blit
from sarigan.training.augmentation.color import recolor
from sarigan.training.augmentation.config import BLIT, COLOR, GEOMETRY
from sarigan.training.augmentation.filtering import equalize
from sarigan.training.augmentation.geometry import warp
from sarigan.training.augmentation.image_random import ImageRandom, per_image

NOISE = 0.1  # deviation of the noise's deviation
CUTOUT = 0.5  # side of the square, in widths


def ada(images: Tensor, transforms: Collection[str], random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,3,R,R] in about -1..1 -> the same shape; p a scalar in 0..1."""
    if not set(BLIT).isdisjoint(transforms):
        images = blit(images, transforms, random, p)
    if not set(GEOMETRY).isdisjoint(transforms):
        images = warp(images, transforms, random, p)
    if not set(COLOR).isdisjoint(transforms):
        images = recolor(images, transforms, random, p)
    if "imgfilter" in transforms:
        images = equalize(images, random, p)
    if "noise" in transforms:
        images = add_noise(images, random, p)
    if "cutout" in transforms:
        images = cut_out(images, random, p)
    return images


def add_noise(images: Tensor, random: ImageRandom, p: Tensor) -> Tensor:
    """White noise of a deviation |N(0, 0.1)| of each image's own."""
    chosen = random.chosen(p)
    deviation = NOISE * random.normal().abs() * chosen
    return images + per_image(deviation) * random.normal(*images.shape[1:])


def cut_out(images: Tensor, random: ImageRandom, p: Tensor) -> Tensor:
    """Zero in a square of half the width around a uniform point, cut at the edges."""
    chosen, x, y = random.chosen(p), random.uniform(), random.uniform()
    size = images.shape[3]
    place = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size
    inside_x, inside_y = ((place - centre[:, None]).abs() < CUTOUT / 2 for centre in (x, y))
    hidden = inside_y[:, None, :, None] & inside_x[:, None, None, :] & per_image(chosen)
    return images.masked_fill(hidden, 0)
