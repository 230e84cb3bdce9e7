"""Errors of completed images against the originals, one number an image, and intervals of the difference of two models.

Images are uint8 [N,3,H,W], as they are stored; masks [N,1,H,W] are 1 where the image is known. Results are float64 [N].
Two numbers are published as MAE: `relative_mae` (PEN-Net, AOT) and `mae` (MAT). Neither paper of Table 5 says which it is.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.seeding import derive_seed

WINDOW, SIGMA = 11, 1.5  # px of SSIM's Gaussian (Wang et al. 2004)
K1, K2 = 0.01, 0.03
PERFECT_PSNR = 100.0  # dB, of an image without any error
NUM_RESAMPLES = 10_000
PIXELS = (1, 2, 3)  # dimensions of channels and places


def relative_mae(a: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """sum |a - b| / sum (a + b): about half of the mean error over the mean brightness. 0 for two black images."""
    a, b = a.double(), b.double()
    return (a - b).abs().sum(dim=PIXELS) / (a + b).sum(dim=PIXELS).clamp_min(1)


def mae(a: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """mean |a - b| / 255 over the whole image, known pixels included."""
    return (a.double() - b.double()).abs().mean(dim=PIXELS) / 255


def hole_mae(a: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """mean |a - b| / 255 over the hole."""
    hole = 1 - known.double()
    return ((a.double() - b.double()).abs() * hole).sum(dim=PIXELS) / (3 * hole.sum(dim=PIXELS)).clamp_min(1) / 255


def psnr(a: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """10 log10(255^2 / mean (a - b)^2), at most 100 dB."""
    error = (a.double() - b.double()).square().mean(dim=PIXELS)
    return (10 * torch.log10(255**2 / error.clamp_min(1e-12))).clamp_max(PERFECT_PSNR)


def ssim(a: Tensor, b: Tensor, known: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 px, sigma 1.5, wholly inside; mean over RGB.

    InputError for images smaller than the window.
    """
    if min(a.shape[2:]) < WINDOW:
        raise InputError(f"SSIM needs images of {WINDOW} px and more, got {a.shape[3]}x{a.shape[2]}")
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=a.device) - WINDOW // 2
    line = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def blurred(x: Tensor) -> Tensor:
        return F.conv2d(x.flatten(0, 1)[:, None], window).reshape(*x.shape[:2], -1)

    x, y = a.double(), b.double()
    mx, my = blurred(x), blurred(y)
    vx, vy, vxy = blurred(x * x) - mx * mx, blurred(y * y) - my * my, blurred(x * y) - mx * my
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return value.mean(dim=(1, 2))


# (completed, original, known) -> [N], by name.
ERRORS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relative_mae": relative_mae,
    "mae": mae,
    "hole_mae": hole_mae,
    "psnr": psnr,
    "ssim": ssim,
}
HIGHER_IS_BETTER = ("psnr", "ssim")


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of a - b over images [N], and the 95% interval of its bootstrap: images are drawn with replacement, in pairs.

    Two models are compared on the same images with the same masks, so what is hard about an image cancels.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    random = np.random.default_rng(derive_seed("paired bootstrap", seed))
    means = np.concatenate(
        [difference[random.integers(len(difference), size=(500, len(difference)))].mean(axis=1)
         for _ in range(NUM_RESAMPLES // 500)]
    )  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)
