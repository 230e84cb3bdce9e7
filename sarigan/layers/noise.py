"""Per-pixel noise with a learned strength (Karras et al. 2019, StyleGAN, sec. 3.2)."""

import torch
from torch import Tensor, nn


class NoiseInjection(nn.Module):
    """x + strength * noise. One scalar strength (StyleGAN2), or one per channel (StyleGAN: `num_channels`); both start at 0.

    x [N,C,H,W]; noise [N,1,H,W] or None, which adds nothing.
    """

    def __init__(self, num_channels: int | None = None) -> None:
        super().__init__()
        shape = (1,) if num_channels is None else (num_channels, 1, 1)
        self.strength = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return x
        return x + (self.strength * noise).to(x.dtype)
