"""Wasserstein losses with a gradient penalty (Gulrajani et al. 2017), of a part of the pixels (Yu et al. 2018), or of every
pixel for a critic of patches (Shaham et al. 2019, SinGAN)."""

from collections.abc import Callable

import torch
from torch import Tensor


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """sum over K critics of mean D(fake) - mean D(real): [N,K] each -> a scalar."""
    return (fake - real).mean(dim=0).sum()


def interpolate(real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """real + share * (fake - real), a leaf that requires grad: images [N,C,H,W], shares [N] in 0..1."""
    return (real + shares.view(-1, 1, 1, 1) * (fake - real)).detach().requires_grad_(True)


def gradient_penalty(images: Tensor, critics: Tensor, hole: Tensor) -> Tensor:
    """sum over K critics of mean (|grad D * hole| - 1)^2: images [N,C,H,W] that require grad, D [N,K], hole [N,1,H,W].

    Yu et al. 2018, Eq. 6: only the pixels of the hole are G's, so D's slope matters there alone.
    """
    total = images.new_zeros(())
    for critic in critics.unbind(dim=1):
        (gradient,) = torch.autograd.grad(critic.sum(), images, create_graph=True)
        # 1e-12 keeps the root's gradient finite where a sample has no hole.
        norm = ((gradient.square() * hole).flatten(start_dim=1).sum(dim=1) + 1e-12).sqrt()
        total = total + (norm - 1).square().mean()
    return total


def patch_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(fake) - mean D(real) over maps of scores [N,1,h,w], as many of one as of the other or not."""
    return fake_scores.mean() - real_scores.mean()


def patch_generator_loss(fake_scores: Tensor) -> Tensor:
    """-mean D(fake) over maps of scores."""
    return -fake_scores.mean()


def pixel_gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """mean over pixels of (|gradient over the C channels| - 1)^2 at real + share * (fake - real); shares [N] in 0..1.

    The gradient is that of the sum of all scores. Gulrajani et al. take one norm an image.
    """
    mixed = interpolate(real, fake, shares)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()
