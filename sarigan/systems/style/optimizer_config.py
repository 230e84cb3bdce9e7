"""Learning rates and moments of the Adam optimisers of a style-based system (Karras et al. 2020, StyleGAN2, appendix B)."""

import math
from dataclasses import dataclass

from sarigan.training.optimizers import check_adam


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for the generator, the discriminator and the grouping parameters."""

    generator_learning_rate: float = 0.002  # of Adam; lazy regularisers scale it and the betas as StyleGAN2 does
    discriminator_learning_rate: float = 0.002  # as above
    grouping_learning_rate: float = 0.002  # of the logits, thresholds and temperatures of the groups
    beta1: float = 0.0  # of Adam
    beta2: float = 0.99  # of Adam
    epsilon: float = 1e-8  # of Adam, for G and D
    grouping_epsilon: float = 1e-15  # gradients of the mean Eq. 2 are near 1e-8
    # The rates of G and D fall from their values at the first number of kimg to a tenth at the second, along a cosine.
    decay_kimg: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_adam(self)

    def decay(self, seen_kimg: float) -> float:
        """The factor of the rates of G and D after so many thousand images."""
        if self.decay_kimg is None:
            return 1.0
        start, end = self.decay_kimg
        share = min(max((seen_kimg - start) / (end - start), 0.0), 1.0)
        return 0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2
