"""Numbers as colours: a sequential map for amounts (dark to bright), its bar, and heat laid over a picture."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Black, violet, red, orange, pale yellow: lightness rises steadily, so that the order survives print and colour blindness.
ANCHORS = np.array([(8, 6, 26), (74, 16, 108), (158, 42, 99), (226, 92, 52), (251, 174, 46), (252, 254, 190)], dtype=np.float64)


def heat_colors(values: np.ndarray) -> np.ndarray:
    """values [...] in 0..1 (clamped) -> uint8 [...,3]."""
    position = np.clip(values, 0, 1) * (len(ANCHORS) - 1)
    low = np.minimum(position.astype(int), len(ANCHORS) - 2)
    share = (position - low)[..., None]
    return ((1 - share) * ANCHORS[low] + share * ANCHORS[low + 1]).round().astype(np.uint8)


def heat_overlay(picture: np.ndarray, values: np.ndarray, opacity: float = 0.62) -> np.ndarray:
    """Heat over the greyscale of a picture uint8 [H,W,3]; values [H,W] in 0..1, strongest where they are high."""
    grey = picture.astype(np.float64).mean(axis=2, keepdims=True).repeat(3, axis=2)
    return ((1 - opacity) * grey + opacity * heat_colors(values)).round().astype(np.uint8)


def upsample_maps(maps: Tensor, size: int) -> Tensor:
    """[N,K,H,W] -> [N,K,size,size], bilinear; averaged where the size is smaller."""
    if maps.shape[-1] >= size:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def stretch(maps: Tensor, low: float = 0.01, high: float = 0.99) -> Tensor:
    """[N,K,H,W] -> 0..1, from the low to the high quantile of every map index K over all N images."""
    flat = maps.transpose(0, 1).flatten(start_dim=1)
    bounds = torch.quantile(flat.float(), torch.tensor([low, high], device=maps.device), dim=1)
    lower, upper = bounds[0][None, :, None, None], bounds[1][None, :, None, None]
    return ((maps - lower) / (upper - lower).clamp_min(1e-12)).clamp(0, 1)
