"""R1 on discriminators whose gradient is known."""

import torch
from torch import nn

from sarigan.losses.gan import r1_penalty


def images() -> torch.Tensor:
    return torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(True)


def test_linear_discriminator() -> None:
    """D(x) = <a, x>: the gradient is a, the penalty |a|^2."""
    x = images()
    a = torch.randn(2, 4, 5, dtype=torch.float64)
    penalty = r1_penalty(x, (x * a).sum(dim=(1, 2, 3)))
    torch.testing.assert_close(penalty, a.square().sum())


def test_quadratic_discriminator_and_its_parameter_gradient() -> None:
    """D(x) = s |x|^2 / 2: gradient s x, penalty s^2 mean |x|^2, derivative 2 s mean |x|^2."""
    x = images()
    s = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty(x, s * x.square().sum(dim=(1, 2, 3)) / 2)
    norm = x.detach().square().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(penalty.detach(), s.detach() ** 2 * norm)
    (slope,) = torch.autograd.grad(penalty, s)
    torch.testing.assert_close(slope, 2 * s.detach() * norm)


def test_against_finite_differences_on_a_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(40, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    x = images()
    penalty = r1_penalty(x, network(x).squeeze(1)).item()
    step, total = 1e-5, 0.0
    with torch.no_grad():
        for n in range(3):
            for index in range(40):
                offset = torch.zeros(40, dtype=torch.float64)
                offset[index] = step
                up, down = (network(x[n : n + 1] + sign * offset.reshape(1, 2, 4, 5)).item() for sign in (1, -1))
                total += ((up - down) / (2 * step)) ** 2
    assert abs(penalty - total / 3) < 1e-7 * total
