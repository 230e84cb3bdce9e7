"""How similar the kernels of a convolution are (SariGAN Eq. 1), and what compares it with groups (Eq. 2): pure functions.

Legend: c channels, g groups. Kernels [c,...] are the weights that produce c channels, S [c,c] their similarity, r a threshold.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SOFT_STEP_SLOPE = 50.0


def kernel_similarity(kernel: Tensor) -> Tensor:
    """Eq. 1: cosine similarity S [c,c] of the kernels [c,...] that produce c channels."""
    rows = F.normalize(kernel.flatten(start_dim=1), dim=1)
    return rows @ rows.t()


def similarity_quantile(similarity: Tensor, num_groups: int) -> Tensor:
    """The (1 - 1/g)-quantile of all c*c entries: c^2/g of them reach it, so a channel has c/g similar ones on average."""
    count = similarity.numel()
    rank = count - round(count / num_groups) + 1
    return kth_smallest(similarity.flatten(), min(rank, count), sort=similarity.device.type != "cpu")


def kth_smallest(values: Tensor, k: int, sort: bool) -> Tensor:
    """The k-th smallest of values [n], counted from 1; NaN is the largest. Sorting and kthvalue give the same number.

    On a GPU sorting is faster: PyTorch's kthvalue uses one thread block there. On a CPU kthvalue is ten times as fast.
    """
    return values.sort().values[k - 1] if sort else values.kthvalue(k).values


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

    The release's (c^2/g - sum S~)^2 divided by (c^2/g)^2: the same minimum. A hard step would have no gradient to r.
    """
    target = similarity.numel() / num_groups
    return (soft_step(similarity.detach(), threshold).sum() / target - 1).square()


def block_diagonal_loss(kernel: Tensor, groups: Tensor) -> Tensor:
    """mean (S(W) - B)^2, B one inside a group: gradient to the kernels [c,...] (Zheng et al. 2019, kernel form). groups [c]."""
    with torch.autocast(kernel.device.type, enabled=False):
        target = (groups[:, None] == groups[None, :]).to(kernel.dtype)
        return (kernel_similarity(kernel) - target).square().mean()
