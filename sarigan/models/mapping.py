"""Mapping network z -> w (Karras et al. 2019, StyleGAN, sec. 2; SariGAN Fig. 2a)."""

import torch
from torch import Tensor, nn

from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision, pixel_norm


class MappingNetwork(nn.Module):
    """Pixel norm, then `num_layers` fully connected layers with leaky ReLU, learning-rate multiplier 0.01.

    z [N,z_dim] -> w [N,w_dim]. Hidden layers are `style_dim` wide; only the last one reaches w_dim, which for SariGAN is
    2 * style_dim: w = [w_h, w_z], the inter-group and the intra-group half. Always float32 or wider.
    """

    def __init__(
        self, z_dim: int, style_dim: int, w_dim: int, num_layers: int = 8, learning_rate_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        widths = [z_dim, *[style_dim] * (num_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            EqualizedLinear(i, o, learning_rate_multiplier, activation="leaky_relu")
            for i, o in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            x = pixel_norm(full_precision(z))
            for layer in self.layers:
                x = layer(x)
            return x
