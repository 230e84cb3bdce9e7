"""ADA's image-space filtering (Karras et al. 2020, app. B): four frequency bands, amplified and damped at random.

The bands are made of the wavelet sym2 in three steps of the algorithme a trous; together they are the identity.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ops import upfirdn2d
from sarigan.training.augmentation.blit import mirrored_position
from sarigan.training.augmentation.image_random import ImageRandom, per_image

NUM_BANDS = 4
LOG2_AMPLIFICATION = 1.0  # deviation of log2 of a band's factor
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of the bands of natural images, whose spectrum falls as 1/f


@lru_cache(maxsize=1)
def filter_bank() -> np.ndarray:
    """float64 [4,K], symmetric filters from the lowest band to the highest; their sum is 1 in the middle, 0 elsewhere."""
    root = math.sqrt(3)
    low = np.array([1 - root, 3 - root, 3 + root, 1 + root]) / (4 * math.sqrt(2))
    high = low * (-1.0) ** np.arange(4)
    low, high = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bank = np.eye(NUM_BANDS, 1)
    for band in range(1, NUM_BANDS):
        spread = np.zeros((NUM_BANDS, 2 * bank.shape[1] - 1))
        spread[:, ::2] = bank
        bank = np.stack([np.convolve(row, low) for row in spread])
        middle, half = bank.shape[1] // 2, len(high) // 2
        bank[band, middle - half : middle + half + 1] += high
    return bank


def equalize(images: Tensor, random: ImageRandom, p: Tensor) -> Tensor:
    """images [n,C,R,R] -> the same shape, each band chosen with probability p; the expected power stays."""
    bands = images.new_ones(len(images), NUM_BANDS)
    changed = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    columns = torch.arange(NUM_BANDS, device=images.device)
    for band, power in enumerate(POWER):
        chosen = random.chosen(p)
        factor = torch.where(chosen, torch.exp2(LOG2_AMPLIFICATION * random.normal()), 1)
        norm = (power * factor.square() + (1 - power)).sqrt()
        bands = bands * torch.where(columns == band, factor[:, None], 1) / norm[:, None]
        changed = changed | chosen
    return torch.where(per_image(changed), filtered(images, bands), images)


def filtered(images: Tensor, bands: Tensor) -> Tensor:
    """images [n,C,H,W] with the filters of all bands, weighted by bands [n,4], along both axes; mirrored at the edges."""
    bank = bank_on(images.device, images.dtype)
    reach, (height, width) = bank.shape[1] // 2, images.shape[2:]
    rows, columns = (
        mirrored_position(torch.arange(-reach, length + reach, device=images.device), length) for length in (height, width)
    )
    images = images.index_select(3, columns)
    images = sum(per_image(bands[:, i]) * upfirdn2d(images, bank[i, None, :]) for i in range(NUM_BANDS))  # type: ignore
    images = images.index_select(2, rows)
    return sum(per_image(bands[:, i]) * upfirdn2d(images, bank[i, :, None]) for i in range(NUM_BANDS))  # type: ignore


@lru_cache(maxsize=8)
def bank_on(device: torch.device, dtype: torch.dtype) -> Tensor:
    """`filter_bank`, copied to a device once."""
    return torch.from_numpy(filter_bank()).to(device, dtype)
