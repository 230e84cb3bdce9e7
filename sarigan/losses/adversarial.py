"""Non-saturating logistic loss (Goodfellow et al. 2014)."""

from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean softplus(-D(x)) + mean softplus(D(G(z))); logits [N] -> a scalar."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """mean softplus(-D(G(z))); logits [N] -> a scalar."""
    return F.softplus(-fake_logits).mean()
