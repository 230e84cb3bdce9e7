"""Groups made after the training: k-means of a layer's kernels, or of its activations, into groups of given sizes.

They are what a grouping that is learned with the generator has to beat. Their sizes are those of the groups they are compared
with, so one permutation null stands beside all of them. Assignment to means under given sizes is a transport problem and solved
exactly, so no step of Lloyd's algorithm makes the fit worse (Bradley et al. 2000, "Constrained K-Means Clustering").
Legend: c channels, g groups.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

NUM_STARTS = 8
MAX_ITERATIONS = 30


def k_means(similarity: Tensor, sizes: Tensor, seed: int = 0, num_starts: int = NUM_STARTS) -> Tensor:
    """Groups [c], group i of sizes[i] channels, of least `within_scatter` among several starts.

    similarity [c,c]: inner products of the points that are clustered (cosine of kernels, correlation of activations).
    """
    points = embedded(similarity)
    slots = torch.arange(len(sizes)).repeat_interleave(sizes)  # which group each of the c places belongs to
    source = torch.Generator().manual_seed(seed)
    best, least = slots, float("inf")
    for _ in range(num_starts):
        centres = points[torch.randperm(len(points), generator=source)[: len(sizes)]]
        groups = slots
        for _ in range(MAX_ITERATIONS):
            distance = (points[:, None] - centres[None]).square().sum(dim=2)
            channels, places = linear_sum_assignment(distance[:, slots].numpy())
            found = torch.empty_like(slots)
            found[torch.from_numpy(channels)] = slots[torch.from_numpy(places)]
            if torch.equal(found, groups):
                break
            groups = found
            centres = group_means(points, groups, len(sizes))
        scatter = within_scatter(points, groups, len(sizes))
        if scatter < least:
            best, least = groups, scatter
    return best


def embedded(similarity: Tensor) -> Tensor:
    """Points [c,c] of float64 whose inner products are the similarity [c,c]."""
    values, vectors = torch.linalg.eigh(similarity.double())
    return vectors * values.clamp_min(0).sqrt()


def group_means(points: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """The mean [g,d] of the points [c,d] of every group; 0 for an empty one."""
    member = torch.nn.functional.one_hot(groups, num_groups).to(points)
    return member.t() @ points / member.sum(dim=0).clamp_min(1)[:, None]


def within_scatter(points: Tensor, groups: Tensor, num_groups: int) -> float:
    """Sum of the squared distances of points [c,d] to the means of their groups [c]."""
    return float((points - group_means(points, groups, num_groups)[groups]).square().sum())
