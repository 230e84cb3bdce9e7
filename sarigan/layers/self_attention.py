"""Self-attention over the pixels of a feature map (Zhang et al. 2019, SAGAN; with the pooling of BigGAN)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.layers.normalization import full_precision
from sarigan.layers.spectral_norm import SpectralConv2d


class SelfAttention(nn.Module):
    """x + gate * o(g(x) softmax(theta(x)^T phi(x))^T), the gate 0 at the start: [N,C,H,W] -> [N,C,H,W].

    theta and phi have C/8 channels, g has C/2; phi and g are max-pooled over 2x2 pixels. Convolutions are 1x1, without bias,
    spectrally normalised. The softmax over the H*W/4 pooled pixels is in float32 at least.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        keys, values = max(1, num_channels // 8), max(1, num_channels // 2)
        self.theta = SpectralConv2d(num_channels, keys, 1, bias=False)
        self.phi = SpectralConv2d(num_channels, keys, 1, bias=False)
        self.g = SpectralConv2d(num_channels, values, 1, bias=False)
        self.o = SpectralConv2d(values, num_channels, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        queries = full_precision(self.theta(x)).flatten(start_dim=2)
        keys = full_precision(F.max_pool2d(self.phi(x), 2)).flatten(start_dim=2)
        values = full_precision(F.max_pool2d(self.g(x), 2)).flatten(start_dim=2)
        with torch.autocast(x.device.type, enabled=False):
            weights = torch.softmax(queries.transpose(1, 2) @ keys, dim=2)  # [N,HW,HW/4]
            mixed = values @ weights.transpose(1, 2)
        mixed = mixed.reshape(*mixed.shape[:2], *x.shape[2:]).to(x.dtype)
        return x + self.gate.to(x.dtype) * self.o(mixed)


def check_attention(section: str, resolution: int, resolutions: Sequence[int]) -> None:
    """InputError unless attention is off, or after a block that there is. Pooling needs 2x2 pixels."""
    known = [value for value in dict.fromkeys(resolutions) if value >= 2]
    if resolution and resolution not in known:
        listed = ", ".join(map(str, known))
        raise InputError(
            f"{section}.attention_resolution must be 0 (none) or a block's resolution ({listed}), got {resolution}"
        )
