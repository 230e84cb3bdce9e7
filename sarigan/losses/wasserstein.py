"""Wasserstein loss with a gradient penalty on every pixel (Gulrajani et al. 2017; Shaham et al. 2019, SinGAN).

A critic gives a map of scores; its score of an image is their mean. Score maps [N,1,h,w], images [N,C,H,W].
"""

from collections.abc import Callable

import torch
from torch import Tensor


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(fake) - mean D(real)."""
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """-mean D(fake)."""
    return -fake_scores.mean()


def pixel_gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """mean over pixels of (|gradient over the C channels| - 1)^2, at share * real + (1 - share) * fake.

    share [N,1,1,1] in 0..1. The gradient is that of the sum of all scores. Gulrajani et al. take one norm an image.
    """
    mixed = torch.lerp(fake, real, share).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()
