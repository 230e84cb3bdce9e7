"""Do groups respond to parts? IoU of each group's strongest 5% of positions with each part, against random groups.

A_i(p) = 1/n_i sum_{C_i} |x_j(p)|, upsampled; T_i its (1 - tau)-quantile over all positions of all images;
IoU_ik = |A_i > T_i and M_k| / |A_i > T_i or M_k| (after Bau et al. 2017, Network Dissection).
Legend: N images, C channels, G groups, K parts, P = N*S*S positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from sarigan.analysis.permutation_null import NullTest, null_test, random_partitions

TAU = 0.05
MAX_SIDE = 64  # larger maps are compared at this size: a layer's features are coarse


@dataclass
class PartIoU:
    """What one layer's groups respond to."""

    iou: Tensor  # [G,K]; rows of empty groups are 0
    occupied: Tensor  # bool [G]
    best: NullTest  # mean over groups of max over parts
    assigned: NullTest  # mean of the best one-to-one assignment (Hungarian)
    group_best: list[NullTest | None]  # max over parts of every group; None for an empty one


class IouScorer:
    """Scores any grouping on cached features [N,C,H,W] and masks int64 [N,R,R] of K parts."""

    def __init__(self, features: Tensor, masks: Tensor, num_parts: int, absolute: bool = True, tau: float = TAU) -> None:
        side = min(masks.shape[-1], MAX_SIDE)
        if masks.shape[-1] != side:
            masks = F.interpolate(masks[:, None].float(), size=(side, side), mode="nearest")[:, 0].long()
        features = features.abs() if absolute else features
        if features.shape[-1] != side:
            features = F.interpolate(features.float(), size=(side, side), mode="bilinear", align_corners=False)
        self.features = features.permute(0, 2, 3, 1).flatten(end_dim=2).contiguous()  # [P,C]; means commute with upsampling
        self.parts = F.one_hot(masks.flatten(), num_parts).to(self.features.dtype)  # [P,K]
        self.part_sizes = self.parts.sum(dim=0)
        self.rank = max(1, len(self.features) - round(tau * len(self.features)))

    def __call__(self, groups: Tensor, num_groups: int) -> Tensor:
        """IoU [G,K] of the groups [C]; rows of empty groups are 0."""
        member = F.one_hot(groups, num_groups).to(self.features)
        sizes = member.sum(dim=0)
        response = self.features @ (member / sizes.clamp_min(1))
        thresholds = response.t().contiguous().kthvalue(self.rank, dim=1).values
        active = (response > thresholds).to(self.features)
        overlap = active.t() @ self.parts
        union = active.sum(dim=0)[:, None] + self.part_sizes - overlap
        return torch.where(sizes[:, None] > 0, overlap / union.clamp_min(1), 0.0)


def part_iou(
    features: Tensor, masks: Tensor, num_parts: int, groups: Tensor, num_groups: int,
    num_permutations: int = 1000, absolute: bool = True, show_progress: bool = False,
) -> PartIoU:  # fmt: skip
    """IoU of groups [C] with parts, and its null over permutations of the channels. features [N,C,H,W], masks [N,R,R]."""
    scorer = IouScorer(features, masks, num_parts, absolute)
    iou = scorer(groups, num_groups)
    occupied = torch.bincount(groups, minlength=num_groups) > 0
    partitions = random_partitions(groups, num_permutations)
    null = torch.stack(
        [scorer(p, num_groups)[occupied] for p in tqdm(partitions, desc="permutations", disable=not show_progress)]
    )
    best = null.amax(dim=2).numpy()
    score = iou[occupied].amax(dim=1).numpy()
    assigned = np.array([_assignment_mean(table) for table in null.numpy()])
    places = occupied.nonzero().flatten().tolist()
    single: list[NullTest | None] = [None] * num_groups
    for column, group in enumerate(places):
        single[group] = null_test(float(score[column]), best[:, column])
    return PartIoU(
        iou,
        occupied,
        null_test(float(score.mean()), best.mean(axis=1)),
        null_test(_assignment_mean(iou[occupied].numpy()), assigned),
        single,
    )


def _assignment_mean(iou: np.ndarray) -> float:
    """Mean IoU of the one-to-one assignment of groups to parts that maximises it. iou [G,K]."""
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].mean())
