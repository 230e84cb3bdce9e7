"""Path lengths on generators whose Jacobian is known; the running mean's part in the penalty."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.losses.gan import path_length_penalty, path_lengths
from sarigan.systems.system import Shard

Build = Callable[..., Any]
N, LATENTS, DIMENSIONS, SHAPE = 3, 4, 5, (3, 2, 6)


def test_linear_generator() -> None:
    """image = sum_l A_l w_l: J_l^T y = A_l^T y with y ~ N(0, 1/(HW)), root mean square over the latents."""
    torch.manual_seed(0)
    a = torch.randn(LATENTS, 36, DIMENSIONS, dtype=torch.float64)
    latents = torch.randn(N, LATENTS, DIMENSIONS, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(N, *SHAPE, dtype=torch.float64)
    images = torch.einsum("lpd,nld->np", a, latents).reshape(N, *SHAPE)
    found = path_lengths(images, latents, noise)
    for n in range(N):
        y = noise[n].flatten() / (2 * 6) ** 0.5
        expected = (sum(float((a[layer].T @ y).square().sum()) for layer in range(LATENTS)) / LATENTS) ** 0.5
        assert abs(float(found[n]) - expected) < 1e-12 * expected


def test_penalty_reaches_the_generator_with_the_right_slope() -> None:
    """image = s A w: lengths scale with s, so d mean (s l - a)^2 / ds = mean 2 (s l - a) l."""
    torch.manual_seed(0)
    a = torch.randn(36, DIMENSIONS, dtype=torch.float64)
    s = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    latents = torch.randn(N, 1, DIMENSIONS, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(N, *SHAPE, dtype=torch.float64)
    images = (s * latents[:, 0] @ a.T).reshape(N, *SHAPE)
    lengths = path_lengths(images, latents, noise)
    mean = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    penalty = path_length_penalty(lengths, mean)
    unit = (noise.flatten(1) / 12**0.5 @ a).norm(dim=1)
    torch.testing.assert_close(penalty.detach(), (1.3 * unit - 0.7).square().mean())
    slope, to_mean = torch.autograd.grad(penalty, [s, mean], allow_unused=True)
    torch.testing.assert_close(slope, (2 * (1.3 * unit - 0.7) * unit).mean())
    assert to_mean is None  # the running mean is a constant


def test_expected_length_does_not_depend_on_resolution() -> None:
    """y has variance 1/(HW): a generator that repeats pixels keeps its path length."""
    torch.manual_seed(0)
    a = torch.randn(3, DIMENSIONS, dtype=torch.float64)

    def mean_length(size: int) -> float:
        latents = torch.randn(4000, 1, DIMENSIONS, dtype=torch.float64, requires_grad=True)
        images = (latents[:, 0] @ a.T)[:, :, None, None].expand(-1, -1, size, size)
        return float(path_lengths(images, latents, torch.randn_like(images)).detach().square().mean())

    expected = float(a.square().sum())
    assert mean_length(1) == pytest.approx(expected, rel=0.1) and mean_length(8) == pytest.approx(expected, rel=0.1)


def test_running_mean_is_used_from_before_the_step_and_updated_after(tiny_config: Build, tiny_trainer: Build) -> None:
    trainer = tiny_trainer(tiny_config("objective.path_length_decay=0.25", "objective.mixing_probability=0"))
    objective = trainer.system.objective
    objective.mean_path_length.fill_(0.8)
    index, phase = next((i, p) for i, p in enumerate(trainer.phases) if p.name == "path_length")
    draws = trainer.system.randomness.draw("path_length", 0, 4, image_noise=True)  # batch 8, shrunk by 2
    fake = objective._generate(objective.replicas, draws)
    lengths = path_lengths(fake.images, fake.latents, draws.image_noise).detach()
    loss, scalars = objective.path_length_phase(Shard(None, draws))
    weight = 2.0 * 2  # weight times interval
    torch.testing.assert_close(loss.detach(), weight * (lengths - 0.8).square().mean())
    assert objective.mean_path_length.item() == pytest.approx(0.8)
    trainer.run_phase(index, phase, torch.zeros(8, 3, 8, 8))
    assert objective.mean_path_length.item() == pytest.approx(0.8 + 0.25 * (lengths.mean().item() - 0.8), rel=1e-5)


def test_weighted_r1_phase(tiny_config: Build, tiny_trainer: Build) -> None:
    """interval * gamma / 2 * penalty."""
    trainer = tiny_trainer(tiny_config("objective.r1_gamma=5", "objective.r1_interval=3"))
    objective = trainer.system.objective
    images = torch.rand(8, 3, 8, 8) * 2 - 1

    def norm(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(trainer.system.discriminator(x).logits.sum(), x)
        return gradient.square().sum(dim=(1, 2, 3)).mean()

    loss, scalars = objective.r1_phase(Shard(Batch(images), None))
    torch.testing.assert_close(loss.detach(), 3 * 5 / 2 * norm(images))
    torch.testing.assert_close(scalars["loss/r1"], norm(images))
