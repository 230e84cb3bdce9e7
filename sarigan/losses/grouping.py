"""Channel grouping loss (SariGAN Eq. 2), the learned threshold's loss, and the block-diagonal constraint of DBT.

Legend: c channels, g groups, S [c,c] cosine similarity of kernels (Eq. 1), P [c,g] softmax of the group logits, r threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.layers.grouping import SimilarityGrouping, kernel_similarity

SOFT_STEP_SLOPE = 50.0


@dataclass
class GroupingLoss:
    """Terms of one layer, unweighted."""

    similarity: Tensor  # Eq. 2, reduced as configured: a scalar
    threshold: Tensor | None  # of a learned r: a scalar
    mean_squared_error: Tensor  # Eq. 2 averaged over c*c whatever the reduction; detached


def soft_step(similarity: Tensor, threshold: Tensor) -> Tensor:
    """sigmoid(50 (S - r)), the release's H: [c,c]."""
    return torch.sigmoid(SOFT_STEP_SLOPE * (similarity - threshold))


def hard_step(similarity: Tensor, threshold: Tensor) -> Tensor:
    """H(S - r), the paper's unit step: [c,c] of zeros and ones."""
    return (similarity >= threshold).to(similarity.dtype)


def similarity_error(probabilities: Tensor, target: Tensor) -> Tensor:
    """(P P^T - H)^2 entry by entry, no gradient to the target: [c,c]."""
    return (probabilities @ probabilities.t() - target.detach()).square()


def threshold_loss(similarity: Tensor, threshold: Tensor, num_groups: int) -> Tensor:
    """(sum S~ / (c^2/g) - 1)^2 with the soft step S~: zero when a channel has c/g similar channels on average.

    The release's (c^2/g - sum S~)^2 on a sane scale, with the same minimum. A hard step would have no gradient to r.
    """
    target = similarity.numel() / num_groups
    return (soft_step(similarity.detach(), threshold).sum() / target - 1).square()


def grouping_loss(grouping: SimilarityGrouping, kernel: Tensor) -> GroupingLoss:
    """The losses of one layer's grouping for the kernels [c,...] that produce its channels.

    Gradient goes to the logits, the temperature and a learned threshold; never to the kernels.
    """
    with torch.autocast(kernel.device.type, enabled=False):
        similarity = kernel_similarity(kernel.detach())
        threshold = grouping.threshold(similarity)
        step = hard_step if grouping.config.step == "hard" else soft_step
        error = similarity_error(grouping.probabilities(), step(similarity, threshold))
        learned = grouping.config.threshold == "learned"
        return GroupingLoss(
            similarity=error.mean() if grouping.config.loss_reduction == "mean" else error.sum(),
            threshold=threshold_loss(similarity, threshold, grouping.num_groups) if learned else None,
            mean_squared_error=error.detach().mean(),
        )


def block_diagonal_loss(kernel: Tensor, groups: Tensor) -> Tensor:
    """mean (S(W) - B)^2, B one inside a group: gradient to the kernels [c,...] (Zheng et al. 2019, kernel form). groups [c]."""
    with torch.autocast(kernel.device.type, enabled=False):
        target = (groups[:, None] == groups[None, :]).to(kernel.dtype)
        return (kernel_similarity(kernel) - target).square().mean()
