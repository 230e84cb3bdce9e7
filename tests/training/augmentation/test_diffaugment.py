"""DiffAugment's policies against loops in float64, on draws that the test chooses."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.training.augmentation.config import DIFFAUGMENT
from sarigan.training.augmentation.diffaugment import cut_out, diffaugment, recolored, translated
from sarigan.training.augmentation.image_random import ImageRandom

ONE = torch.tensor(1.0, dtype=torch.float64)


def images(count: int = 5, size: int = 9) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (count, 3, size, size)))


def random(seed: int, count: int = 5) -> ImageRandom:
    return ImageRandom(torch.Generator().manual_seed(seed), count, slice(None), torch.float64)


def test_color_against_numpy() -> None:
    x = images()
    draws = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    after = recolored(x, *draws).numpy()
    for index, (brightness, saturation, contrast) in enumerate(draws.T.numpy()):
        y = x[index].numpy() + brightness - 0.5
        y = (y - y.mean(0)) * saturation * 2 + y.mean(0)
        y = (y - y.mean()) * (contrast + 0.5) + y.mean()
        assert np.abs(after[index] - y).max() < 1e-12


def test_translation_against_padding() -> None:
    x, right, down = images(), torch.tensor([0.0, 1, -1, 0, -1]), torch.tensor([0.0, 1, 1, -1, 0])
    after = translated(x, right, down).numpy()
    for index in range(5):
        wide, r, d = np.pad(x[index].numpy(), ((0, 0), (2, 2), (2, 2))), int(right[index]), int(down[index])
        assert np.array_equal(after[index], wide[:, 2 - d : 11 - d, 2 - r : 11 - r])


@pytest.mark.parametrize("size", [8, 9])
def test_cutout_against_loops(size: int) -> None:
    """A square of half the width around a pixel; its part beyond the edge is lost."""
    x, (u, v) = images(size=size), torch.rand(2, 5, generator=torch.Generator().manual_seed(2))
    after, side = cut_out(x, u, v), int(size * 0.5 + 0.5)
    for index in range(5):
        left, top = (int(draw[index] * (size + 1 - side % 2)) - side // 2 for draw in (u, v))
        expected = x[index].clone()
        for row in range(max(0, top), min(size, top + side)):
            for column in range(max(0, left), min(size, left + side)):
                expected[:, row, column] = 0
        assert torch.equal(after[index], expected)


def test_shifts_are_uniform_over_an_eighth_of_the_width() -> None:
    count = 20_000
    x = torch.zeros(count, 3, 16, 16, dtype=torch.float64)
    x[:, :, 8, 8] = 1
    place = diffaugment(x, ("translation",), random(3, count), ONE)[:, 0].flatten(1).argmax(1)
    for position in (place // 16, place % 16):
        shares = torch.bincount(position - 6, minlength=5) / count
        assert len(shares) == 5 and (shares - 0.2).abs().max() < 0.015


@pytest.mark.parametrize("name", DIFFAUGMENT)
def test_identity_at_p_0_and_every_image_at_p_1(name: str) -> None:
    x = images(40, 16)
    assert torch.equal(diffaugment(x, (name,), random(4, 40), 0 * ONE), x)
    changed = (diffaugment(x, (name,), random(4, 40), ONE) != x).flatten(1).any(1)
    assert changed.float().mean() > (0.85 if name == "translation" else 0.99)


@pytest.mark.parametrize("name", DIFFAUGMENT)
def test_first_and_second_derivatives(name: str) -> None:
    x = images(2, 6).requires_grad_(True)

    def squared(x: Tensor) -> Tensor:
        return diffaugment(x, (name,), random(5, 2), ONE).square()

    assert torch.autograd.gradcheck(squared, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(squared, (x,), fast_mode=True)
