"""R1 gradient penalty (Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?")."""

import torch
from torch import Tensor


def r1_penalty(real_images: Tensor, real_logits: Tensor) -> Tensor:
    """Mean squared gradient norm of D at real images. real_images [N,C,H,W] requires grad; returns a scalar."""
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.square().flatten(start_dim=1).sum(dim=1).mean()
