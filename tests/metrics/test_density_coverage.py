"""Density and coverage against a float64 loop, a case by hand, and the expectation for equal distributions."""

import numpy as np
import pytest
import torch

from sarigan.errors import InputError
from sarigan.metrics import density_coverage as module
from sarigan.metrics.density_coverage import density_coverage, expected_coverage


def two_sets(offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    fake, real = random.standard_normal((70, 6)) * 0.8 + 0.5, random.standard_normal((90, 6))
    return torch.from_numpy(fake + offset).float(), torch.from_numpy(real + offset).float()


def by_loops(fake: np.ndarray, real: np.ndarray, k: int) -> tuple[float, float]:
    count, covered = 0, 0
    for center in real:
        radius = sorted(np.linalg.norm(real - center, axis=1))[k]
        hits = sum(np.linalg.norm(point - center) <= radius for point in fake)
        count, covered = count + hits, covered + (hits > 0)
    return count / (k * len(fake)), covered / len(real)


@pytest.mark.parametrize("block", [16, 37, 2048])
@pytest.mark.parametrize("k", [3, 5])
def test_equals_loops(block: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    fake, real = two_sets()
    assert density_coverage(fake, real, k) == pytest.approx(
        by_loops(fake.double().numpy(), real.double().numpy(), k), rel=1e-12
    )


def test_by_hand() -> None:
    """Around 0, 1, 2, 10 with k = 1 the balls reach 1, 1, 1, 8 far: 2.5 lies in two of them, 1 in three, -5 in none."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[2.5], [1.0], [-5.0]])
    assert density_coverage(fake, real, 1) == ((2 + 3) / 3, 1.0)
    assert density_coverage(fake[2:], real, 1) == (0.0, 0.0)


def test_an_outlier_does_not_make_images_good() -> None:
    """The wide ball around one real outlier holds all of the generated images: precision is 1, density is small."""
    from sarigan.metrics.precision_recall import precision_recall

    random = np.random.default_rng(1)
    real = torch.from_numpy(np.concatenate([random.standard_normal((100, 2)), [[60.0, 0.0]]])).float()
    fake = torch.from_numpy(random.standard_normal((50, 2)) + [30.0, 0.0]).float()
    assert precision_recall(fake, real)[0] == 1.0
    assert density_coverage(fake, real) == (pytest.approx(1 / 5), pytest.approx(1 / 101))


def test_equal_distributions() -> None:
    """Mean density 1 and the lemma's mean coverage, whatever the distribution; within 4 standard errors of 60 draws."""
    random = np.random.default_rng(2)
    draws = [density_coverage(*(torch.from_numpy(random.exponential(size=(n, 3))) for n in (60, 80)), 5) for _ in range(60)]
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / 60**0.5
    assert abs(mean[0] - 1) < 4 * error[0] and abs(mean[1] - expected_coverage(60, 80, 5)) < 4 * error[1]


def test_expected_coverage_of_large_sets() -> None:
    """1 - 2^-k."""
    assert expected_coverage(10**7, 10**7, 5) == pytest.approx(1 - 2**-5, abs=1e-6)


def test_far_from_the_origin() -> None:
    near, far = density_coverage(*two_sets()), density_coverage(*two_sets(offset=300.0))
    assert far == pytest.approx(near, abs=0.02)


def test_too_few() -> None:
    fake, real = two_sets()
    for a, b in ((fake, real[:5]), (fake[:0], real)):
        with pytest.raises(InputError, match="need more than k=5 real images and a generated one"):
            density_coverage(a, b)
