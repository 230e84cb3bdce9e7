"""What a linear SVM from latent to label leaves unknown of one binary attribute: H(Y|X), beside what makes it credible.

X is the SVM's side, Y the label by the sign of a classifier's logit, both on the most confident samples only (Karras et al.
2019, StyleGAN, sec. 4.2). Legend: N samples, D latent dimensions. Entropies are in nats.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from sarigan.seeding import derive_seed


@dataclass(frozen=True)
class AttributeSeparability:
    """Entropies of one attribute in one space, in nats."""

    name: str
    entropy: float  # H(Y) of the kept labels: what a constant X leaves
    conditional: float  # H(Y|X), fitted and counted on the same samples (the published protocol)
    held_out: float  # H(Y|X) on samples that the fit has not seen
    shuffled: float  # as `conditional`, with shuffled labels
    positive_share: float  # among the kept
    num_kept: int


def conditional_entropy(x: np.ndarray, y: np.ndarray) -> float:
    """H(Y|X) in nats by the 2x2 table of two boolean arrays."""
    total = 0.0
    for side in (False, True):
        chosen = y[x == side]
        for count in (int(chosen.sum()), len(chosen) - int(chosen.sum())):
            if count:
                total -= count / len(y) * math.log(count / len(chosen))
    return total


def measure_attribute(
    name: str,
    latents: np.ndarray,
    logits: np.ndarray,
    kept_share: float = 0.5,
    held_out_share: float = 0.2,
    smallest_class: int = 10,
    seed: int = 0,
) -> AttributeSeparability | str:
    """The entropies for latents [N,D] and one attribute's logits [N], or why there are none."""
    # softmax([l,-l]) is monotone in |l|, and saturates where |l| does not.
    kept = np.argsort(-np.abs(logits), kind="stable")[: int(kept_share * len(logits))]
    x, y = latents[kept], logits[kept] > 0
    rarer = min(int(y.sum()), int((~y).sum()))
    if rarer < smallest_class:
        return f"{rarer} of {len(y)} kept samples are of the rarer class, {smallest_class} are needed"
    random = np.random.default_rng(derive_seed("separability", seed, name))
    test = _stratified(y, held_out_share, random)
    return AttributeSeparability(
        name=name,
        entropy=conditional_entropy(np.zeros_like(y), y),
        conditional=conditional_entropy(_sides(x, y, x), y),
        held_out=conditional_entropy(_sides(x[~test], y[~test], x[test]), y[test]),
        shuffled=conditional_entropy(_sides(x, shuffled := random.permutation(y), x), shuffled),
        positive_share=float(y.mean()),
        num_kept=len(y),
    )


def _stratified(y: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A mask of samples to hold out: this share of each class, at least one and never all."""
    test = np.zeros(len(y), dtype=bool)
    for side in (False, True):
        members = random.permutation(np.flatnonzero(y == side))
        test[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return test


def _sides(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """On which side of the SVM's plane, fitted to x and y, the asked samples lie."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    # The primal problem has the same solution as the dual, is solved without random numbers, and is fast for N > D.
    machine = LinearSVC(dual=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return machine.fit(x, y).predict(asked)
