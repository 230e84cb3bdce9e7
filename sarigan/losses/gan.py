"""Losses of the style systems (SariGAN Eq. 7), as scalars: adversarial, R1, path length, information. Logits are [N]."""

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of D (Goodfellow et al. 2014): mean softplus(-D(x)) + mean softplus(D(G(z)))."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """The same of G: mean softplus(-D(G(z)))."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(real_images: Tensor, real_logits: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): mean squared gradient norm of D at real_images [N,C,H,W], which require grad."""
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.square().flatten(start_dim=1).sum(dim=1).mean()


def path_lengths(fake_images: Tensor, latents: Tensor, image_noise: Tensor) -> Tensor:
    """|J_w^T y| for a random image y ~ N(0, 1/(H W)), root mean square over the L latents: [N] (StyleGAN2, Eq. 4).

    fake_images [N,C,H,W] made from latents [N,L,w_dim]; image_noise [N,C,H,W] ~ N(0,1).
    """
    height, width = fake_images.shape[2:]
    projection = (fake_images * image_noise).sum() / (height * width) ** 0.5
    (gradient,) = torch.autograd.grad(projection, latents, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean_length: Tensor) -> Tensor:
    """mean (length - a)^2 with a the running mean from before this step. lengths [N], mean_length a scalar."""
    return (lengths - mean_length.detach()).square().mean()


def information_loss(predicted_codes: Tensor, target_codes: Tensor, nats: bool = False) -> Tensor:
    """-E log Q(codes | image) up to constants (SariGAN Eq. 8; Chen et al. 2016, InfoGAN): mean (Q - t)^2 over [N,D].

    Q is a Gaussian of unit variance around the head's output, so -log Q = 1/2 sum_d (Q_d - t_d)^2 + const. The mean over
    dimensions is the release's convention; `nats` gives the sum, D/2 times that. No gradient reaches the target. The
    entropy of Eq. 8 has no gradient under this Gaussian.
    """
    error = (predicted_codes - target_codes.detach()).square()
    return 0.5 * error.sum(dim=1).mean() if nats else error.mean()


def explained_variance_terms(predicted_codes: Tensor, target_codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error and variance of the target over the batch, averaged over dimensions: R^2 = 1 - MSE / Var.

    Both [N,D] -> two scalars. The variance is the unbiased one over the batch (1 sample: NaN).
    """
    predicted, target = predicted_codes.detach(), target_codes.detach()
    return (predicted - target).square().mean(), target.var(dim=0, unbiased=True).mean()
