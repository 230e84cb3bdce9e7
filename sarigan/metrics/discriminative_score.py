"""P-IDS and U-IDS (Zhao et al. 2021, CoModGAN): how well a linear classifier of features tells completions from originals.

A linear SVM f is fitted to all originals and completions and counted on them, as published. U-IDS is its share of errors, P-IDS
the share of completions that it takes for real more than their own originals. D features separate any 2N <= D + 1 points,
those of one distribution included: both scores are then 0 and say nothing, so they are refused for few images.
"""

import warnings

import numpy as np

from sarigan.errors import InputError

MIN_IMAGES = 10_000


def require_enough(count: int, option: str) -> None:
    """InputError naming the option for fewer images than the scores mean something for."""
    if count < MIN_IMAGES:
        raise InputError(
            f"{option}: P-IDS and U-IDS need at least {MIN_IMAGES:,} images, got {count:,}: of fewer a linear"
            " classifier of some thousand features separates any two sets, those of one distribution included, and both are 0"
        )


def discriminative_scores(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """P-IDS and U-IDS of features [N,D] of N originals and of their completions, in pairs; higher is better."""
    from sklearn.exceptions import ConvergenceWarning  # a second of imports that most evaluations do without
    from sklearn.svm import LinearSVC

    classifier = LinearSVC(dual=False, C=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(np.concatenate([real, fake]), np.repeat([1, 0], [len(real), len(fake)]))
    real_sides, fake_sides = classifier.decision_function(real), classifier.decision_function(fake)
    errors = (real_sides <= 0).sum() + (fake_sides > 0).sum()
    return float((fake_sides > real_sides).mean()), float(errors / (len(real) + len(fake)))
