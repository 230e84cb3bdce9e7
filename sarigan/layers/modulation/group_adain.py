"""Group AdaIN: AdaIN by the intra-group codes (SariGAN Eq. 3)."""

from torch import Tensor

from sarigan.layers.normalization import instance_norm


def group_adain(x: Tensor, z_scale: Tensor, z_bias: Tensor | None, epsilon: float = 1e-8) -> Tensor:
    """X'_j = z_s,j (x_j - mean(x_j)) / std(x_j) + z_b,j for every channel j, whatever its group.

    x [N,C,H,W], z_scale and z_bias [N,C]. The groups of Eq. 3 partition the channels, so all of them are done at once.
    """
    y = instance_norm(x, epsilon) * z_scale.to(x.dtype)[:, :, None, None]
    return y if z_bias is None else y + z_bias.to(x.dtype)[:, :, None, None]
