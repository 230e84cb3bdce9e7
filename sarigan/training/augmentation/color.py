"""ADA's colour transforms (Karras et al. 2020, app. B): affine maps of RGB in -1..1, multiplied together and applied once."""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from sarigan.training.augmentation.image_random import ImageRandom, per_image

BRIGHTNESS = 0.2  # deviation of what is added
LOG2_CONTRAST = 0.5  # deviation of log2 of the factor
LOG2_SATURATION = 1.0


def recolor(images: Tensor, transforms: Collection[str], random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,3,H,W] -> the same shape; an image for which no transform is chosen stays as it is.

    The luma axis is v = (1,1,1)/sqrt(3), and L = v v^T projects on it.
    """
    one = torch.eye(3, device=images.device, dtype=images.dtype)
    luma = torch.full_like(one, 1 / 3)
    matrix, offset = one.expand(len(images), 3, 3), images.new_zeros(len(images), 3)
    changed = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if "brightness" in transforms:
        chosen = random.chosen(p)
        offset = offset + (BRIGHTNESS * random.normal() * chosen)[:, None]
        changed = changed | chosen
    for name in ("contrast", "lumaflip", "hue", "saturation"):
        if name not in transforms:
            continue
        chosen = random.chosen(p)
        if name == "contrast":
            factor = torch.exp2(LOG2_CONTRAST * random.normal())[:, None, None] * one
        elif name == "lumaflip":  # reflection at the plane of no luma
            factor = one - 2 * luma * (random.uniform() < 0.5)[:, None, None]
        elif name == "hue":
            factor = rotation_about_luma((2 * random.uniform() - 1) * math.pi)
        else:
            factor = luma + (one - luma) * torch.exp2(LOG2_SATURATION * random.normal())[:, None, None]
        # Explicit sums: TensorFloat-32 would round the colours to 10 bits.
        matrix = torch.where(chosen[:, None, None], (factor[:, :, :, None] * matrix[:, None]).sum(2), matrix)
        offset = torch.where(chosen[:, None], (factor * offset[:, None]).sum(2), offset)
        changed = changed | chosen
    recolored = (matrix[:, :, :, None, None] * images[:, None]).sum(2) + offset[:, :, None, None]
    return torch.where(per_image(changed), recolored, images)


def rotation_about_luma(angle: Tensor) -> Tensor:
    """[n] -> [n,3,3], Rodrigues' formula: cos I + sin [v]x + (1 - cos) v v^T."""
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    same, less, more = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    return torch.stack([same, less, more, more, same, less, less, more, same], dim=1).reshape(-1, 3, 3)
