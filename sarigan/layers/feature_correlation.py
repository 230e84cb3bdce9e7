"""How alike channels respond: second moments of feature maps, which add up over batches and ranks, and their correlation.

With the features of one position as a column x [c], M = sum [x; 1] [x; 1]^T over positions and images is [c+1,c+1]: products,
sums, and in the last corner the count.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def feature_moments(features: Tensor) -> Tensor:
    """M [c+1,c+1] of features [N,c,H,W], in their type."""
    rows = F.pad(features.transpose(0, 1).flatten(start_dim=1), (0, 0, 0, 1), value=1.0)
    return rows @ rows.t()


def feature_correlation(moments: Tensor) -> Tensor:
    """Correlation [c,c] over positions and images of moments [c+1,c+1] with any weight; 0 for a channel that never varies."""
    mean_products = moments / moments[-1, -1].clamp_min(1e-30)
    mean = mean_products[:-1, -1]
    covariance = mean_products[:-1, :-1] - mean[:, None] * mean
    variance = covariance.diagonal()
    rounding = 16 * torch.finfo(moments.dtype).eps * mean_products.diagonal()[:-1]
    scale = torch.where(variance > rounding, variance.clamp_min(1e-30).rsqrt(), 0.0)
    return covariance * scale[:, None] * scale
