"""How much an error in the hole counts by how far it is from what is known: masks [N,1,R,R], 1 where known -> [N,1,R,R]."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.systems.inpainting.windows import window_corners

DISCOUNT = 0.9  # a pixel
REPEATS = 7


def discount(known: Tensor) -> Tensor:
    """max(.9^min(i, s - i), .9^min(j, s - j)) in the window of side s around the hole, i and j from 0 (Yu et al. 2018).

    The whole window counts, as in the published code; holes that leave it count 1 there. Without a hole nothing counts.
    """
    size = known.shape[3]
    side, places = size // 2, torch.arange(size, device=known.device)
    axes = []
    for corner in window_corners(known):
        inside = places - corner[:, None]  # [N,R]
        nearest = torch.minimum(inside, side - inside)
        axes.append(torch.where((inside >= 0) & (inside < side), DISCOUNT ** nearest.to(known.dtype), torch.nan))
    rows, columns = axes[0][:, None, :, None], axes[1][:, None, None, :]
    window = ~(rows.isnan() | columns.isnan())
    weights = torch.where(window, torch.maximum(rows.nan_to_num(), columns.nan_to_num()), 1 - known)
    return weights * (known < 0.5).any(dim=(2, 3), keepdim=True)


def confidence(known: Tensor) -> Tensor:
    """w <- blur(known + w) * hole, seven times from 0, with a flat square of a quarter of the side (Wang et al. 2020)."""
    side = max(2, known.shape[3] // 4)
    before, after = (side - 1) // 2, side // 2
    weights, hole = torch.zeros_like(known), 1 - known
    for _ in range(REPEATS):
        padded = F.pad(known + weights, (before, after, before, after))
        weights = F.avg_pool2d(F.avg_pool2d(padded, (side, 1), stride=1), (1, side), stride=1) * hole
    return weights


WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {"discount": discount, "confidence": confidence}
