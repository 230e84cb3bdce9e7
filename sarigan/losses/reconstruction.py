"""Losses of a completed image against the original."""

from torch import Tensor


def hole_l1(completed: Tensor, original: Tensor, known: Tensor) -> Tensor:
    """mean |a - b| over the pixels and channels of each sample's hole, averaged over samples: a scalar.

    completed, original [N,C,H,W]; known [N,1,H,W], 1 where the image is known. A mean over the hole does not grow with its
    area; one for each sample does not depend on how a batch is cut. A sample without a hole adds 0.
    """
    hole = 1 - known
    area = hole.sum(dim=(1, 2, 3)) * completed.shape[1]
    return (((completed - original).abs() * hole).sum(dim=(1, 2, 3)) / area.clamp_min(1)).mean()


def weighted_l1(completed: Tensor, original: Tensor, weights: Tensor) -> Tensor:
    """sum w |a - b| over pixels and channels / (C R^2 / 4), averaged over samples: a scalar. weights [N,1,R,R].

    The mean over a square of half the side, outside of which w is 0 (Yu et al. 2018).
    """
    area = completed[0].numel() / 4
    return ((completed - original).abs() * weights).sum(dim=(1, 2, 3)).mean() / area
