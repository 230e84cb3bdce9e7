"""The logistic losses against numpy and their known gradients."""

import numpy as np
import torch

from sarigan.losses.gan import discriminator_loss, generator_loss

REAL, FAKE = np.array([-3.0, 0.0, 0.5, 4.0]), np.array([2.0, -1.0, 0.0])


def test_values() -> None:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))), and -log sigmoid(D(G(z)))."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    d = discriminator_loss(torch.from_numpy(REAL), torch.from_numpy(FAKE))
    g = generator_loss(torch.from_numpy(FAKE))
    np.testing.assert_allclose(d.item(), -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean(), rtol=1e-12)
    np.testing.assert_allclose(g.item(), -np.log(sigmoid(FAKE)).mean(), rtol=1e-12)


def test_gradients_are_sigmoids() -> None:
    real = torch.from_numpy(REAL).requires_grad_(True)
    fake = torch.from_numpy(FAKE).requires_grad_(True)
    d_real, d_fake = torch.autograd.grad(discriminator_loss(real, fake), [real, fake])
    torch.testing.assert_close(d_real, -torch.sigmoid(-real.detach()) / 4)
    torch.testing.assert_close(d_fake, torch.sigmoid(fake.detach()) / 3)
    (g,) = torch.autograd.grad(generator_loss(fake), fake)
    torch.testing.assert_close(g, -torch.sigmoid(-fake.detach()) / 3)


def test_large_logits_stay_finite() -> None:
    huge = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = discriminator_loss(huge, huge) + generator_loss(huge)
    (gradient,) = torch.autograd.grad(loss, huge)
    assert loss.isfinite() and gradient.isfinite().all()
