"""The window of half the side around each image's hole: what a local critic sees, and where distances of holes are taken."""

import torch
from torch import Tensor


def window_corners(known: Tensor) -> tuple[Tensor, Tensor]:
    """Top and left edge [N] of the windows of half the side whose middle is nearest to that of the hole, inside the image.

    known [N,1,R,R], 1 where the image is known. A box that is trimmed alike on both sides keeps the window that it was cut in.
    """
    size = known.shape[3]
    hole = (known[:, 0] < 0.5).double()
    area, places = hole.sum(dim=(1, 2)).clamp_min(1), torch.arange(size, device=known.device, dtype=torch.float64)
    middles = [(hole.sum(dim=across) * places).sum(dim=1) / area for across in (2, 1)]
    top, left = ((middle - (size // 2 - 1) / 2).round().clamp(0, size - size // 2).long() for middle in middles)
    return top, left


def hole_windows(images: Tensor, known: Tensor) -> Tensor:
    """[N,C,R/2,R/2]: of every image [N,C,R,R] the window around the middle of its hole."""
    top, left = window_corners(known)
    places = torch.arange(images.shape[3] // 2, device=images.device)
    samples, channels = (torch.arange(count, device=images.device) for count in images.shape[:2])
    rows, columns = top[:, None] + places, left[:, None] + places
    return images[samples[:, None, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
