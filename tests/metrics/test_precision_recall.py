"""Precision and recall against float64 loops over all pairs and against torch-fidelity."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from sarigan.errors import InputError
from sarigan.metrics import precision_recall as module
from sarigan.metrics.precision_recall import precision_recall


def two_sets(offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    fake, real = random.standard_normal((150, 6)) * 0.8 + 0.5, random.standard_normal((220, 6))
    return torch.from_numpy(fake + offset).float(), torch.from_numpy(real + offset).float()


def by_loops(points: np.ndarray, centers: np.ndarray, k: int) -> float:
    radii = [sorted(np.linalg.norm(centers - c, axis=1))[k] for c in centers]
    return float(np.mean([any(np.linalg.norm(p - c) <= r for c, r in zip(centers, radii, strict=True)) for p in points]))


@pytest.mark.parametrize("block", [16, 37, 2048])
def test_equals_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    fake, real = two_sets()
    a, b = fake.double().numpy(), real.double().numpy()
    assert precision_recall(fake, real) == (by_loops(a, b, 3), by_loops(b, a, 3))


def test_equals_torch_fidelity() -> None:
    fake, real = two_sets()
    assert precision_recall(fake, real) == pytest.approx(calculate_precision_recall_full(fake, real, 3), rel=1e-6)


def test_far_from_the_origin() -> None:
    """A common offset changes nothing but rounding."""
    near, far = precision_recall(*two_sets()), precision_recall(*two_sets(offset=300.0))
    assert far == pytest.approx(near, abs=0.01)


def test_a_point_on_the_edge_of_a_ball_is_inside() -> None:
    """Of 0, 1, 2, 3 with k = 3 the balls reach 3, 2, 2, 3 far: exactly to -3 and 6."""
    real = torch.arange(4.0)[:, None]
    fake = torch.tensor([[-3.0], [-3.5], [6.0], [6.5], [7.0]])
    assert precision_recall(fake, real)[0] == 2 / 5


def test_apart_and_equal() -> None:
    fake, real = two_sets()
    assert precision_recall(fake + 100, real) == (0, 0)
    assert precision_recall(real, real) == (1, 1)


def test_too_few() -> None:
    fake, real = two_sets()
    with pytest.raises(InputError, match="more than k=3 generated images, got 3"):
        precision_recall(fake[:3], real)
