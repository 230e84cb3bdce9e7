"""Information loss: -E log Q(codes | image) up to its constants (SariGAN Eq. 8; Chen et al. 2016, InfoGAN).

Q is a Gaussian of unit variance around the head's output, so -log Q = 1/2 sum_d (Q_d - t_d)^2 + const. The convention
here, as in the release, is the *mean* over batch and dimensions; the sum in nats is dims/2 times that (`nats=True`).
The entropy term of Eq. 8 has no gradient of its own under this Gaussian and is dropped.
"""

from torch import Tensor


def information_loss(predicted_codes: Tensor, target_codes: Tensor, nats: bool = False) -> Tensor:
    """mean (Q - sg(t))^2 over [N,D], or 1/2 sum_d of it averaged over the batch; a scalar. No gradient to the target."""
    error = (predicted_codes - target_codes.detach()).square()
    return 0.5 * error.sum(dim=1).mean() if nats else error.mean()


def explained_variance_terms(predicted_codes: Tensor, target_codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error and variance of the target over the batch, averaged over dimensions: R^2 = 1 - MSE / Var.

    Both [N,D] -> two scalars. The variance is the unbiased one over the batch (1 sample: NaN).
    """
    predicted, target = predicted_codes.detach(), target_codes.detach()
    return (predicted - target).square().mean(), target.var(dim=0, unbiased=True).mean()
