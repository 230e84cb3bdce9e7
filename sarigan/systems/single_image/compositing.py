"""Masks of pasted objects and edited regions, and what of the result is kept outside them (SinGAN, section 4)."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.data.picture import read_pixels, resized
from sarigan.errors import InputError
from sarigan.systems.single_image.generator import PyramidGenerator
from sarigan.systems.single_image.pyramid import Size
from sarigan.systems.single_image.samples import num_scales

HARMONIZE_RADIUS = 7  # px by which a mask grows, so that the seam lies inside
EDIT_RADIUS = 20
BLUR_SIGMA = 5.0  # px


def read_reference(path: Path, generator: PyramidGenerator, file_size: Size) -> Tensor:
    """A picture of the training picture's size, in the file or at the finest scale: [1,3,H,W] in -1..1 at the finest scale.

    InputError naming the file and both sizes for another one.
    """
    return resized(_read(path, generator, file_size) / 127.5 - 1, generator.sizes[-1])


def read_region(path: Path, generator: PyramidGenerator, file_size: Size) -> Tensor:
    """A mask of the training picture's size, white where the object or edit is: [1,1,H,W] of 0 and 1.

    It has the size of the finest scale that is trained or in training, as what comes out of the generator.

    InputError for another size, for grey values that are neither black nor white, and for a mask without any white.
    """
    values = _read(path, generator, file_size).float().mean(dim=1, keepdim=True) / 255
    between = ((values > 0.25) & (values < 0.75)).float().mean()
    if between > 0.1:
        raise InputError(f"{path}: a mask is black and white, {100 * float(between):.0f}% of this one is grey")
    size = generator.sizes[num_scales(generator) - 1]
    region = (F.interpolate(values, size, mode="area") > 0.5).float()
    if not region.any():
        raise InputError(f"{path}: the mask has no white pixel; white is where the object or the edit is")
    return region


def _read(path: Path, generator: PyramidGenerator, file_size: Size) -> Tensor:
    pixels = read_pixels(path)
    found, finest = (pixels.shape[1], pixels.shape[2]), generator.sizes[-1]
    if found not in (file_size, finest):
        right = " or ".join(dict.fromkeys(f"{width}x{height}" for height, width in (file_size, finest)))
        raise InputError(f"{path}: is {found[1]}x{found[0]}, the model's picture is {right}; it must have that size")
    return pixels[None]


def softened(region: Tensor, radius: int) -> Tensor:
    """The region [N,1,H,W] of 0 and 1 grown by a disk of `radius` px, then blurred by a Gaussian of 5 px: 0..1."""
    offsets = torch.arange(-radius, radius + 1, dtype=region.dtype, device=region.device)
    disk = (offsets[:, None].square() + offsets.square() <= radius**2).to(region.dtype)
    grown = (F.conv2d(region, disk[None, None], padding=radius) > 0.5).to(region.dtype)
    reach = math.ceil(4 * BLUR_SIGMA)
    taps = torch.exp(-torch.arange(-reach, reach + 1, dtype=region.dtype, device=region.device).square() / (2 * BLUR_SIGMA**2))
    taps = taps / taps.sum()
    blurred = F.conv2d(F.pad(grown, (reach,) * 4, mode="replicate"), taps.view(1, 1, -1, 1))
    return F.conv2d(blurred, taps.view(1, 1, 1, -1)).clamp(0, 1)


def composed(original: Tensor, changed: Tensor, weight: Tensor) -> Tensor:
    """(1 - m) original + m changed; where m is 0, the original to the bit."""
    return torch.lerp(original, changed, weight)
