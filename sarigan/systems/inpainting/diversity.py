"""How much several completions of one hole differ."""

import itertools

import torch
from torch import Tensor

from sarigan.losses.reconstruction import hole_l1
from sarigan.models.feature_networks.perceptual import PerceptualDistance


def pairwise_differences(completed: Tensor, known: Tensor, distance: PerceptualDistance) -> tuple[float, float]:
    """Means over all pairs of n >= 2 completions [n,3,R,R] of one image: mean |a - b| / 255 in the hole, and the distance.

    known [1,1,R,R], 1 where the image is known.
    """
    pairs = list(itertools.combinations(range(len(completed)), 2))
    a, b = (completed[[pair[side] for pair in pairs]].clamp(-1, 1) for side in (0, 1))
    difference = hole_l1(a, b, known.expand(len(pairs), -1, -1, -1)) / 2
    with torch.no_grad():
        perceptual = torch.cat([distance(x.float(), y.float()) for x, y in zip(a.split(32), b.split(32), strict=True)])
    return float(difference), float(perceptual.mean())


def diversity(completed: Tensor, known: Tensor, distance: PerceptualDistance) -> str:
    """`pairwise_differences` for a person; nothing of a single completion."""
    if len(completed) < 2:
        return ""
    difference, perceptual = pairwise_differences(completed, known, distance)
    return f"  pairs differ by {difference:.4f} of the range in the hole, {distance.name} {perceptual:.4f}"
