"""Minibatch standard deviation (Karras et al. 2018, "Progressive Growing of GANs", sec. 3)."""

import torch
from torch import Tensor, nn

from sarigan.layers.normalization import full_precision


class MinibatchStddev(nn.Module):
    """Append the standard deviation over small groups of samples, averaged over features, as one constant map.

    x [N,C,H,W] -> [N,C+1,H,W]. Groups hold `group_size` samples (the largest divisor of N up to it) and are strided:
    with M = N/group_size groups, sample n belongs to group n mod M. A batch that is dealt out to shards as positions
    s, s+S, s+2S, ... therefore keeps its groups as long as every shard holds a multiple of `group_size` samples.
    """

    def __init__(self, group_size: int = 4, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.group_size, self.epsilon = group_size, epsilon

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        size = max(g for g in range(1, min(self.group_size, n) + 1) if n % g == 0)
        groups = full_precision(x).reshape(size, n // size, c, h, w)
        variance = (groups - groups.mean(dim=0)).square().mean(dim=0)
        stddev = torch.sqrt(variance + self.epsilon).mean(dim=(1, 2, 3))
        return torch.cat([x, stddev.to(x.dtype).repeat(size).reshape(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)
