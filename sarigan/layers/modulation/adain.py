"""Adaptive instance normalisation (Huang & Belongie 2017; StyleGAN's epilogue, Karras et al. 2019, Eq. 1)."""

import torch
from torch import Tensor, nn

from sarigan.layers.activation import BiasLeakyReLU, NoiseInjection
from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision, instance_norm


class AdaINEpilogue(nn.Module):
    """What follows every convolution of StyleGAN: per-channel noise, bias, leaky ReLU, then (s + 1) IN(x) + b.

    x [N,C,H,W], latent [N,D], noise [N,1,H,W] or None -> [N,C,H,W].
    """

    def __init__(self, style_dim: int, num_channels: int, adds_noise: bool = True) -> None:
        super().__init__()
        self.noise = NoiseInjection(num_channels) if adds_noise else None
        self.activation = BiasLeakyReLU(num_channels)
        self.style = EqualizedLinear(style_dim, 2 * num_channels)

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor | None) -> Tensor:
        x = instance_norm(self.activation(x if self.noise is None else self.noise(x, noise)))
        with torch.autocast(x.device.type, enabled=False):
            scale, bias = self.style(full_precision(latent)).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return x * (scale + 1) + bias
