"""Hinge loss of a GAN (Lim & Ye 2017; Miyato et al. 2018), and BigGAN's orthogonal penalty of weights. Logits are [N]."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """-mean D(G(z))."""
    return -fake_logits.mean()


def orthogonal_penalty(weights: Iterable[Tensor]) -> Tensor:
    """1/2 sum_W |W W^T o (1 - I)|^2 of matrices [O, rest] (Brock et al. 2019, Eq. 3).

    Its gradient is 2 (W W^T o (1 - I)) W.
    """
    total = []
    for weight in weights:
        matrix = weight.flatten(start_dim=1)
        product = matrix @ matrix.t()
        total.append((product - torch.diag(product.diagonal())).square().sum() / 2)
    return torch.stack(total).sum()
