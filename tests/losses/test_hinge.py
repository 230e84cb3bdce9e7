"""Hinge losses by hand, and the orthogonal penalty by the gradient that BigGAN states."""

import torch

from sarigan.losses.hinge import hinge_discriminator_loss, hinge_generator_loss, orthogonal_penalty


def test_hinge_losses() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, -0.25, 1.0])
    assert float(hinge_discriminator_loss(real, fake)) == (0 + 0.5 + 2) / 3 + (0 + 0.75 + 2) / 3
    assert float(hinge_generator_loss(fake)) == 0.75


def test_no_gradient_beyond_the_margin() -> None:
    real, fake = torch.tensor([2.0, 0.5], requires_grad=True), torch.tensor([-3.0, 0.5], requires_grad=True)
    hinge_discriminator_loss(real, fake).backward()
    assert real.grad is not None and real.grad.tolist() == [0, -0.5]
    assert fake.grad is not None and fake.grad.tolist() == [0, 0.5]


def test_the_orthogonal_penalty_has_the_stated_gradient() -> None:
    weights = [torch.randn(3, 5, dtype=torch.float64, requires_grad=True), torch.randn(4, 2, 3, 3).double().requires_grad_()]
    orthogonal_penalty(weights).backward()
    for weight in weights:
        matrix = weight.detach().flatten(start_dim=1)
        expected = 2 * ((matrix @ matrix.t()) * (1 - torch.eye(len(matrix)).double())) @ matrix
        torch.testing.assert_close(weight.grad.flatten(start_dim=1), expected)
    rows = torch.diag(torch.tensor([2.0, 3.0]))
    assert float(orthogonal_penalty([rows])) == 0  # rows of any length, at right angles
