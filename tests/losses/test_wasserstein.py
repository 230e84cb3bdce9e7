"""The critic's losses against values by hand and finite differences."""

import torch
from torch import Tensor

from sarigan.losses.wasserstein import patch_critic_loss, patch_generator_loss, pixel_gradient_penalty


def test_losses_are_differences_of_means() -> None:
    real, fake = torch.tensor([[1.0, 3.0]]), torch.tensor([[-2.0, 0.0]])
    assert patch_critic_loss(real, fake) == -3 and patch_generator_loss(fake) == 1


def test_penalty_of_a_linear_critic() -> None:
    """D(x) = sum of w_c x_c at every pixel has the gradient w there: (|w| - 1)^2, whatever the images are."""
    weight = torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64)  # of length 7
    images = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return (x * weight[:, None, None]).sum(dim=1, keepdim=True)

    for share in (0.0, 0.3, 1.0):
        penalty = pixel_gradient_penalty(critic, images[0], images[1], torch.full((2, 1, 1, 1), share, dtype=torch.float64))
        assert abs(float(penalty) - 36) < 1e-9


def test_penalty_of_a_network_by_finite_differences() -> None:
    """One norm a pixel, over the channels, of the gradient of the sum of all scores at the mixed image."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Softplus(), torch.nn.Conv2d(4, 1, 3)).double()
    real, fake = torch.randn(2, 1, 3, 6, 6, dtype=torch.float64)
    share = torch.tensor([0.25], dtype=torch.float64).view(1, 1, 1, 1)
    mixed = 0.75 * real + 0.25 * fake
    gradient = torch.zeros_like(mixed)
    with torch.no_grad():
        for index in range(mixed.numel()):
            step = torch.zeros(mixed.numel(), dtype=torch.float64)
            step[index] = 1e-5
            step = step.view_as(mixed)
            gradient.view(-1)[index] = (network(mixed + step).sum() - network(mixed - step).sum()) / 2e-5
    expected = ((gradient.square().sum(dim=1).sqrt() - 1) ** 2).mean()
    penalty = pixel_gradient_penalty(network, real, fake, share)
    assert torch.allclose(penalty, expected, rtol=1e-6)
    penalty.backward()
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if "weight" in name)
