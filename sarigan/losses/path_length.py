"""Path length regularisation (Karras et al. 2020, StyleGAN2, sec. 3.2, Eq. 4)."""

import torch
from torch import Tensor


def path_lengths(fake_images: Tensor, latents: Tensor, image_noise: Tensor) -> Tensor:
    """|J_w^T y| for a random image y ~ N(0, 1/(H W)), root mean square over the L latents: [N].

    fake_images [N,C,H,W] made from latents [N,L,w_dim]; image_noise [N,C,H,W] ~ N(0,1).
    """
    height, width = fake_images.shape[2:]
    projection = (fake_images * image_noise).sum() / (height * width) ** 0.5
    (gradient,) = torch.autograd.grad(projection, latents, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean_length: Tensor) -> Tensor:
    """mean (length - a)^2 with a the running mean from before this step. lengths [N], mean_length a scalar."""
    return (lengths - mean_length.detach()).square().mean()
