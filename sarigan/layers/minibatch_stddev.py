"""Minibatch standard deviation (Karras et al. 2018, "Progressive Growing of GANs", sec. 3)."""

import torch
from torch import Tensor, nn

from sarigan.layers.normalization import full_precision


class MinibatchStddev(nn.Module):
    """Append the standard deviation over small groups of samples, averaged over features, as one constant map.

    x [N,C,H,W] -> [N,C+1,H,W]. Groups hold `group_size` samples (the largest divisor of N up to it) and are strided:
    with M = N/group_size groups, sample n belongs to group n mod M. A batch that is dealt out to shards as positions
    s, s+S, s+2S, ... therefore keeps its groups as long as every shard holds a multiple of `group_size` samples.
    `num_batches`: x is so many batches of equal size, one after the other, and no group holds samples of two of them.
    """

    def __init__(self, group_size: int = 4, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.group_size, self.epsilon = group_size, epsilon

    def forward(self, x: Tensor, num_batches: int = 1) -> Tensor:
        total, c, h, w = x.shape
        n = total // num_batches
        size = max(g for g in range(1, min(self.group_size, n) + 1) if n % g == 0)
        groups = full_precision(x).reshape(num_batches, size, n // size, c, h, w)
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        stddev = torch.sqrt(variance + self.epsilon).mean(dim=(2, 3, 4)).to(x.dtype)  # [B,M]
        maps = stddev[:, None].expand(num_batches, size, n // size).reshape(total, 1, 1, 1).expand(total, 1, h, w)
        return torch.cat([x, maps], dim=1)
