"""Eq. 2, the threshold's loss and the block-diagonal constraint against slow numpy versions."""

import numpy as np
import pytest
import torch

from sarigan.layers.grouping import GroupingConfig, SimilarityGrouping
from sarigan.layers.kernel_similarity import block_diagonal_loss, threshold_loss

C, G = 10, 3


def similarity_of(kernel: np.ndarray) -> np.ndarray:
    rows = kernel.reshape(len(kernel), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def build(**options: object) -> tuple[SimilarityGrouping, torch.Tensor]:
    torch.manual_seed(0)
    # Two shared directions, so that cosines lie on both sides of every threshold.
    shared = 2 * torch.randn(2, 4, 3, 3, dtype=torch.float64)[torch.arange(C) % 2]
    kernel = torch.randn(C, 4, 3, 3, dtype=torch.float64) + shared
    grouping = SimilarityGrouping(GroupingConfig(num_groups=G, **options), C, G).double()
    grouping.initialize(kernel)
    return grouping, kernel.requires_grad_(True)


def expected_loss(grouping: SimilarityGrouping, kernel: torch.Tensor) -> tuple[np.ndarray, float]:
    """(P P^T - H)^2 entry by entry, and r."""
    config = grouping.config
    similarity = similarity_of(kernel.detach().numpy())
    if config.learn_temperature:
        inverse = 5 / (1 + np.exp(-grouping.temperature_logit.item()))
    else:
        inverse = 1 / config.constant_temperature
    weights = np.exp(grouping.logits.detach().numpy() * inverse)
    p = weights / weights.sum(axis=1, keepdims=True)
    if config.threshold == "quantile":
        r = np.sort(similarity.flatten())[::-1][round(C * C / G) - 1]
    elif config.threshold == "learned":
        r = 1 / (1 + np.exp(-grouping.threshold_logit.item()))
    else:
        r = config.constant_threshold
    target = (similarity >= r).astype(float) if config.step == "hard" else 1 / (1 + np.exp(-50 * (similarity - r)))
    return (p @ p.T - target) ** 2, r


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("step", ["hard", "soft"])
@pytest.mark.parametrize(
    "options",
    [
        {"threshold": "quantile"},
        {"threshold": "learned", "initial_threshold": 0.3},
        {"threshold": "constant", "constant_threshold": 0.4, "learn_temperature": False},
    ],
)
def test_equation_2(options: dict[str, object], step: str, reduction: str) -> None:
    grouping, kernel = build(step=step, loss_reduction=reduction, **options)
    error, r = expected_loss(grouping, kernel)
    found = grouping.loss(kernel)
    assert found.similarity.item() == pytest.approx(error.mean() if reduction == "mean" else error.sum(), rel=1e-9)
    assert found.mean_squared_error.item() == pytest.approx(error.mean(), rel=1e-9)
    assert not found.mean_squared_error.requires_grad
    if options["threshold"] == "learned":
        similarity = similarity_of(kernel.detach().numpy())
        soft = 1 / (1 + np.exp(-50 * (similarity - r)))
        assert found.threshold is not None
        assert found.threshold.item() == pytest.approx((soft.sum() / (C * C / G) - 1) ** 2, rel=1e-9)
    else:
        assert found.threshold is None


def test_gradient_to_the_logits_by_finite_differences() -> None:
    grouping, kernel = build(step="soft")
    (gradient,) = torch.autograd.grad(grouping.loss(kernel).similarity, grouping.logits)
    step = 1e-6
    for j, i in ((0, 0), (3, 2), (9, 1)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                grouping.logits[j, i] += sign * step
                values.append(expected_loss(grouping, kernel)[0].mean())
                grouping.logits[j, i] -= sign * step
        assert gradient[j, i].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6)


def test_threshold_loss_is_zero_where_a_channel_has_c_over_g_similar_ones() -> None:
    """And the learned threshold moves there: too low a threshold rises, too high a one falls."""
    grouping, kernel = build(threshold="learned")
    similarity = torch.from_numpy(similarity_of(kernel.detach().numpy()))
    low, high = (torch.tensor(r, dtype=torch.float64, requires_grad=True) for r in (-0.5, 0.99))
    for r, sign in ((low, -1), (high, 1)):
        (gradient,) = torch.autograd.grad(threshold_loss(similarity, r, G), r)
        assert gradient.item() * sign > 0
    grid = np.linspace(0, 1, 2001)
    soft = 1 / (1 + np.exp(-50 * (similarity.numpy()[None] - grid[:, None, None])))
    best = grid[np.abs(soft.sum(axis=(1, 2)) - C * C / G).argmin()]
    assert threshold_loss(similarity, torch.tensor(best), G).item() < 1e-4


def test_perfect_groups_have_no_loss() -> None:
    """Orthogonal clusters, one-hot rows: P P^T equals the step of S."""
    labels = torch.arange(C) % G
    kernel = torch.eye(G, dtype=torch.float64)[labels]
    grouping = SimilarityGrouping(GroupingConfig(num_groups=G, threshold="constant", constant_threshold=0.5), C, G).double()
    with torch.no_grad():
        grouping.logits.copy_(1000 * torch.eye(G)[labels])
    assert grouping.loss(kernel).similarity.item() < 1e-12


def test_block_diagonal_loss_and_its_gradient() -> None:
    _, kernel = build()
    groups = torch.arange(C) * G // C
    loss = block_diagonal_loss(kernel, groups)
    target = (groups[:, None] == groups[None]).double().numpy()
    assert loss.item() == pytest.approx(((similarity_of(kernel.detach().numpy()) - target) ** 2).mean(), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, kernel)
    step, values = 1e-6, []
    for sign in (1, -1):
        moved = kernel.detach().clone()
        moved[2, 1, 0, 1] += sign * step
        values.append(((similarity_of(moved.numpy()) - target) ** 2).mean())
    assert gradient[2, 1, 0, 1].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)
    # Cosines do not see the length of a kernel, so no gradient goes along it.
    along = (gradient * kernel.detach()).sum(dim=(1, 2, 3))
    assert along.abs().max() < 1e-15
