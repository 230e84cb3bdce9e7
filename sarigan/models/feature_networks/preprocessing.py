"""From images to the input of a feature network: the three ways in use, whose distances are not comparable.

tf       8-bit images; bilinear resize as in TensorFlow 1 (corner-aligned grid, no antialiasing); (x - 128) / 128.
         The way of Heusel et al. 2017 (TTUR), of NVIDIA's code and of torch-fidelity. The default.
clean    8-bit images; antialiased bicubic resize as in PIL, not rounded; (x - 128) / 128. The way of Parmar et al. 2022
         (On Aliased Resizing and Surprising Subtleties in GAN Evaluation).
release  generated images as floats, neither clamped nor rounded; half-pixel bilinear resize without antialiasing;
         x / 127.5 - 1; real images mirrored at random. The way of SariGAN's released code.

The numbers (x - 128) / 128 are Inception's; other networks have their own, and `release` changes them in Inception alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """A way of preparing images. resize: float [N,3,H,W], size S -> [N,3,S,S]."""

    name: str
    resize: Callable[[Tensor, int], Tensor]
    quantized: bool = True  # generated images are rounded to 8 bits first
    mirrors_real_images: bool = False

    def __call__(self, images: Tensor, size: int) -> Tensor:
        """uint8 [N,3,H,W], or float in -1..1 -> float32 [N,3,S,S] in 0..255 (floats: about)."""
        if images.dtype != torch.uint8:
            images = to_uint8(images) if self.quantized else images.float() * 127.5 + 127.5
        images = images.float()
        return images if images.shape[-2:] == (size, size) else self.resize(images, size)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in -1..1 -> uint8, rounded to nearest and clamped."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def resize_tensorflow(images: Tensor, size: int) -> Tensor:
    """Output pixel i is at i * (in / out): bilinear, no half-pixel shift, no antialiasing. [N,3,H,W] -> [N,3,S,S]."""
    for dimension in (2, 3):
        low, high, weight = _grid(images.shape[dimension], size, images.device)
        weight = weight[:, None] if dimension == 2 else weight
        images = torch.lerp(images.index_select(dimension, low), images.index_select(dimension, high), weight)
    return images


@cache
def _grid(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    position = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
    low = position.long()
    return low.to(device), (low + 1).clamp_max(length - 1).to(device), (position - low).to(device)


def resize_antialiased(images: Tensor, size: int) -> Tensor:
    """Bicubic with a = -0.5, widened when it shrinks, as in PIL; clamped to 0..255. [N,3,H,W] -> [N,3,S,S]."""
    return F.interpolate(images, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)


def resize_half_pixel(images: Tensor, size: int) -> Tensor:
    """PyTorch's bilinear, no antialiasing. [N,3,H,W] -> [N,3,S,S]."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


TF = Preprocessing("tf", resize_tensorflow)
CLEAN = Preprocessing("clean", resize_antialiased)
RELEASE = Preprocessing("release", resize_half_pixel, quantized=False, mirrors_real_images=True)
PREPROCESSINGS = {mode.name: mode for mode in (TF, CLEAN, RELEASE)}


def preprocessing_named(name: str) -> Preprocessing:
    """One of PREPROCESSINGS; InputError for another name."""
    if name not in PREPROCESSINGS:
        raise InputError(f"preprocessing must be one of {', '.join(PREPROCESSINGS)}, got {name!r}")
    return PREPROCESSINGS[name]
