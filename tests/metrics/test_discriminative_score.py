"""P-IDS and U-IDS against what they are for known distributions, and refused where they mean nothing."""

import math

import numpy as np
import pytest

from sarigan.errors import InputError
from sarigan.metrics.discriminative_score import discriminative_scores, require_enough


def test_shifted_gaussians() -> None:
    """N(0,1) against N(s,1) in one of four dimensions: the best side errs with Phi(-s/2), pairs with Phi(-s/sqrt 2)."""
    random = np.random.default_rng(0)
    real, fake = random.standard_normal((2, 20_000, 4))
    fake[:, 0] += 1.0
    paired, unpaired = discriminative_scores(real, fake)
    assert unpaired == pytest.approx(0.5 * math.erfc(0.5 / math.sqrt(2)), abs=0.01)
    assert paired == pytest.approx(0.5 * math.erfc(0.5), abs=0.01)


def test_identical_and_separable_sets() -> None:
    random = np.random.default_rng(0)
    real = random.standard_normal((500, 4))
    assert discriminative_scores(real, real) == (0.0, 0.5)
    assert discriminative_scores(real, real + 100) == (0.0, 0.0)
    # As many dimensions as points: one distribution, and yet separable.
    few = random.standard_normal((2, 20, 64))
    assert discriminative_scores(*few) == (0.0, 0.0)


def test_few_images_are_refused_with_the_reason() -> None:
    require_enough(10_000, "--ids")
    with pytest.raises(
        InputError, match="--ids: P-IDS and U-IDS need at least 10,000 images, got 244: .*separates any two sets"
    ):
        require_enough(244, "--ids")
