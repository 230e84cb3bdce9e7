"""Losses of images made from layouts: hinge (Lim & Ye 2017), feature matching (Wang et al. 2018, pix2pixHD), KL of a VAE.

A discriminator with several scales gives, for each, a list of feature maps, the last of which holds its logits [N,1,h,w].
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.losses import hinge

Scales = Sequence[Sequence[Tensor]]


def hinge_discriminator_loss(real: Scales, fake: Scales) -> Tensor:
    """Mean over scales of mean max(0, 1 - D(x)) + mean max(0, 1 + D(G))."""
    losses = [hinge.hinge_discriminator_loss(r[-1].float(), f[-1].float()) for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def hinge_generator_loss(fake: Scales) -> Tensor:
    """Mean over scales of -mean D(G)."""
    return torch.stack([hinge.hinge_generator_loss(maps[-1].float()) for maps in fake]).mean()


def feature_matching_loss(real: Scales, fake: Scales) -> Tensor:
    """Mean over scales of the sum over hidden maps of mean |real - fake|. No gradient reaches the real ones."""
    distances = [
        torch.stack([F.l1_loss(b.float(), a.detach().float()) for a, b in zip(r[:-1], f[:-1], strict=True)]).sum()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(distances).mean()


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) = 1/2 sum (mean^2 + exp(lv) - 1 - lv), averaged over samples. Both [N,D].

    The release sums over samples too, so that its weight acts as one of 0.05 * (images a device) here.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
