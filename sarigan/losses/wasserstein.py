"""Wasserstein losses with a gradient penalty (Gulrajani et al. 2017), of a part of the pixels (Yu et al. 2018)."""

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
