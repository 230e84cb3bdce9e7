"""Weights of the hole, windows, and the gradient penalty, against closed forms and loops."""

import math

import pytest
import torch

from sarigan.losses.reconstruction import weighted_l1
from sarigan.losses.wasserstein import critic_loss, gradient_penalty, interpolate
from sarigan.systems.inpainting.two_stage.weighting import confidence, discount
from sarigan.systems.inpainting.windows import hole_windows, window_corners


def box(size: int, top: int, left: int, trim: tuple[int, int] = (0, 0)) -> torch.Tensor:
    known = torch.ones(1, 1, size, size, dtype=torch.float64)
    known[:, :, top + trim[0] : top + size // 2 - trim[0], left + trim[1] : left + size // 2 - trim[1]] = 0
    return known


def test_discount_at_256_px() -> None:
    weights = discount(box(256, 40, 81))[0, 0]
    inside = weights[40:168, 81:209]
    assert (weights > 0).sum() == 128 * 128
    assert float(inside.mean()) == pytest.approx(0.25292, abs=5e-6)
    assert (inside[0] == 1).all() and (inside[:, 0] == 1).all()
    assert torch.allclose(inside[-1, 1:], torch.tensor(0.9).double()) and inside[64, 64] == pytest.approx(0.9**64)
    for i, j in ((3, 100), (70, 70), (127, 5), (20, 30)):
        assert inside[i, j] == pytest.approx(max(0.9 ** min(i, 128 - i), 0.9 ** min(j, 128 - j)))


def test_holes_outside_the_window_count_fully() -> None:
    known = torch.ones(1, 1, 16, 16)
    known[:, :, 4:12, 4:12], known[:, :, 0, 15] = 0, 0
    weights = discount(known)
    (top,), (left,) = window_corners(known)
    assert (weights > 0)[0, 0, top : top + 8, left : left + 8].all() and weights[0, 0, 0, 15] == 1
    assert (weights > 0).sum() == 64 + 1
    assert not discount(torch.ones(1, 1, 16, 16)).any() and not confidence(torch.ones(1, 1, 16, 16)).any()


@pytest.mark.parametrize("trim", [(0, 0), (1, 2), (3, 0)])
@pytest.mark.parametrize("corner", [(0, 0), (1, 5), (7, 8), (3, 2)])
def test_the_window_of_a_trimmed_box_is_the_box(corner: tuple[int, int], trim: tuple[int, int]) -> None:
    known = box(16, *corner, trim)
    assert tuple(int(axis) for axis in window_corners(known)) == corner
    images = torch.arange(2 * 256, dtype=torch.float64).reshape(1, 2, 16, 16)
    top, left = corner
    assert torch.equal(hole_windows(images, known), images[:, :, top : top + 8, left : left + 8])


def test_confidence_of_the_centre_hole() -> None:
    weights = confidence(box(256, 64, 64))
    hole = weights[0, 0, 64:192, 64:192]
    assert (weights > 0).sum() == 128 * 128
    assert float(hole.mean()) == pytest.approx(0.73, abs=0.005) and float(hole[64, 64]) == pytest.approx(0.48, abs=0.005)


def test_weighted_l1() -> None:
    torch.manual_seed(0)
    a, b, weights = torch.rand(2, 3, 8, 8).double(), torch.rand(2, 3, 8, 8).double(), torch.rand(2, 1, 8, 8).double()
    total = sum(
        float(weights[n, 0, y, x] * (a[n, c, y, x] - b[n, c, y, x]).abs())
        for n in range(2) for c in range(3) for y in range(8) for x in range(8)
    )  # fmt: skip
    assert float(weighted_l1(a, b, weights)) == pytest.approx(total / 2 / (3 * 16))


def test_penalty_of_linear_critics_in_closed_form() -> None:
    """D_k = a_k . x: the gradient is a_k everywhere, so the penalty is sum_k (|a_k * hole| - 1)^2."""
    torch.manual_seed(0)
    real, fake, slopes = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 3, 6, 6), (3, 3, 6, 6), (2, 3, 6, 6)))
    hole = (torch.rand(3, 1, 6, 6) > 0.6).double()
    between = interpolate(real, fake, torch.tensor([0.0, 1.0, 0.25]).double())
    assert torch.equal(between[0], real[0]) and torch.allclose(between[1], fake[1])
    assert torch.allclose(between[2], 0.75 * real[2] + 0.25 * fake[2]) and between.is_leaf
    values = torch.einsum("nchw,kchw->nk", between, slopes)
    expected = sum(
        (math.sqrt(float(((slopes[k] * hole[n]) ** 2).sum())) - 1) ** 2 for k in range(2) for n in range(3)
    ) / 3  # fmt: skip
    assert float(gradient_penalty(between, values, hole)) == pytest.approx(expected, rel=1e-9)


def test_penalty_without_a_hole_is_finite() -> None:
    weight = torch.randn(3, 4, 4, requires_grad=True)
    images = torch.randn(2, 3, 4, 4, requires_grad=True)
    values = (images.square() * weight).sum(dim=(1, 2, 3))[:, None]
    penalty = gradient_penalty(images, values, torch.zeros(2, 1, 4, 4))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, rel=1e-5) and not weight.grad.any()


def test_critic_loss() -> None:
    real, fake = torch.tensor([[1.0, 10.0], [3.0, 20.0]]), torch.tensor([[0.0, 5.0], [0.0, 5.0]])
    assert critic_loss(real, fake) == -2 - 10
