"""Attentive normalisation (Wang et al. 2020, "Attentive Normalization for Conditional Image Generation").

Every position belongs softly to one of n regions, and is normalised with the mean and deviation of each:
S = softmax_k((a_k F_k + W_k x) / 10), F_k = <key at a random position, query>, out = x + rho sum_k S_k (v - mu_k) / sd_k.
Legend: `N` batch, `C` channels, `P` positions, `K` regions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.layers.normalization import full_precision

TEMPERATURE = 10.0
EPSILON = 1e-7


def normalized_by_region(values: Tensor, shares: Tensor, as_released: bool = False) -> Tensor:
    """sum_k S_k (v - mu_k) / sd_k: values [N,C,P], shares [N,K,P] -> [N,C,P].

    mu_k = sum(S_k v) / sum(S_k) and sd_k^2 = sum(S_k (v - mu_k)^2) / sum(S_k). as_released: mu_k = mean(S_k v) / sum(S_k), P
    times too small, and sd_k^2 = sum((S_k v - mu_k)^2) / sum(S_k) over all positions.
    """
    mass = shares.sum(dim=2)[:, None]  # [N,1,K]
    if as_released:
        products = values @ shares.transpose(1, 2)
        means = products / values.shape[2] / mass
        squares = values.square() @ shares.square().transpose(1, 2)
        variances = (squares - 2 * means * products + values.shape[2] * means.square()) / mass
    else:
        values = values - values.mean(dim=2, keepdim=True)  # changes nothing, and squares of small numbers cancel less
        means = values @ shares.transpose(1, 2) / mass
        variances = values.square() @ shares.transpose(1, 2) / mass - means.square()
    scales = (variances.clamp_min(0) + EPSILON**2).rsqrt()  # [N,C,K]
    return values * (scales @ shares) - (means * scales) @ shares


def orthogonality(weight: Tensor, as_released: bool = False) -> Tensor:
    """||W W^T - I||_F^2 of W [K,C]; as released the sum of the entries with their signs, ||sum_k w_k||^2 - K: a scalar."""
    difference = weight @ weight.T - torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
    return difference.sum() if as_released else difference.square().sum()


class AttentiveNormalization(nn.Module):
    """x [N,C,H,W], positions [N,K] in 0..1 or none -> [N,C,H,W]. Without positions F is 0: a test draws nothing."""

    def __init__(self, channels: int, num_regions: int, as_released: bool) -> None:
        super().__init__()
        self.num_positions, self.as_released = num_regions, as_released
        self.regions = nn.Conv2d(channels, num_regions, 1, bias=False)
        self.key, self.query = (nn.Conv2d(channels, max(1, channels // 8), 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.sampling = nn.Parameter(torch.full((num_regions,), 0.1))
        self.rho = nn.Parameter(torch.zeros(1))
        nn.init.normal_(self.regions.weight)
        if not as_released:  # rows of length 1: at N(0,1) their orthogonality starts near 3e5
            with torch.no_grad():
                self.regions.weight.copy_(F.normalize(self.regions.weight, dim=1))

    def forward(self, x: Tensor, known: Tensor, positions: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            full = full_precision(x)
            values = self.value(full).flatten(start_dim=2)
            found = normalized_by_region(values, self.shares(full, positions), self.as_released)
            return (full + self.rho * found.reshape_as(full)).to(x.dtype)

    def shares(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """S [N,K,P] of x [N,C,H,W]; sums over k to 1."""
        logits = self.regions(x).flatten(start_dim=2)
        if positions is not None:
            keys, queries = (layer(x).flatten(start_dim=2) for layer in (self.key, self.query))
            chosen = (positions * keys.shape[2]).long().clamp_max(keys.shape[2] - 1)
            sampled = keys.gather(2, chosen[:, None].expand(-1, keys.shape[1], -1))  # [N,C/8,K]
            logits = logits + self.sampling.clamp(0, 1)[:, None] * (sampled.transpose(1, 2) @ queries)
        return torch.softmax(logits / TEMPERATURE, dim=1)

    def penalty(self) -> Tensor | None:
        """The orthogonality of the regions' weights."""
        return orthogonality(self.regions.weight.flatten(start_dim=1), self.as_released)
