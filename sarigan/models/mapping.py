"""The mapping network (Karras et al. 2019, StyleGAN, sec. 2), also of a class (Karras et al. 2020, StyleGAN2-ADA).

Labels [N] are int64 in 0..K-1. Which class an image of no stated class has is drawn by the shares of the training images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sarigan.errors import InputError
from sarigan.layers.linear import EqualizedLinear
from sarigan.layers.normalization import full_precision, pixel_norm


class MappingNetwork(nn.Module):
    """Pixel norm, then fully connected layers with leaky ReLU (StyleGAN; SariGAN Fig. 2a).

    z [N,z_dim] -> w [N,w_dim]. Hidden layers are `style_dim` wide; only the last one reaches w_dim, which for SariGAN is
    2 * style_dim: w = [w_h, w_z], the inter-group and the intra-group half. Always float32 or wider.

    With K = num_classes > 0 a linear layer embeds the one-hot label in style_dim numbers. They are pixel-normalised by
    themselves and stand beside z: the first layer has z_dim + style_dim inputs. z_dim 0: a function of the label alone.
    """

    def __init__(
        self, z_dim: int, style_dim: int, w_dim: int, num_layers: int = 8, learning_rate_multiplier: float = 0.01,
        num_classes: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = EqualizedLinear(num_classes, style_dim) if num_classes else None
        widths = [z_dim + (style_dim if num_classes else 0), *[style_dim] * (num_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            EqualizedLinear(i, o, learning_rate_multiplier, activation="leaky_relu")
            for i, o in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """InputError for labels without classes, and for classes without labels."""
        if (labels is None) != (self.embedding is None):
            right = "has no classes, so it takes no labels" if labels is not None else "has classes: it needs labels"
            raise InputError(f"this network {right}")
        given = z if labels is None else labels
        assert given is not None
        with torch.autocast(given.device.type, enabled=False):
            parts = [] if z is None else [pixel_norm(full_precision(z))]
            if self.embedding is not None:
                # The product with a one-hot vector is a column of the weight.
                column = self.embedding.weight.t()[labels] * self.embedding.weight_scale
                parts.append(pixel_norm(column + self.embedding.bias))
            x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for layer in self.layers:
                x = layer(x)
            return x


def draw_labels(shares: Sequence[float], count: int, seed: int) -> Tensor:
    """Labels [count] on the CPU, class k with probability shares[k]: a function of the arguments."""
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    bounds = torch.tensor(shares, dtype=torch.float64).cumsum(0)[:-1]
    return torch.searchsorted(bounds, uniform, right=True)


def check_classes(names: Sequence[str], shares: Sequence[float]) -> None:
    """InputError unless there are no classes, or two or more with names of their own and positive shares that add up to 1."""
    if len(set(names)) != len(names) or len(names) == 1:
        raise InputError(f"generator.class_names must be two or more different names, or none; got {len(names)} names")
    if len(shares) != len(names):
        raise InputError(f"generator.class_shares must be one number a class, got {len(shares)} for {len(names)} classes")
    if names and not (min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise InputError(f"generator.class_shares must be positive and add up to 1, got a sum of {sum(shares):g}")
