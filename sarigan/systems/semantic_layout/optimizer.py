"""Learning rates of GauGAN: two time scales (Heusel et al. 2017), constant at first, then falling linearly to 0."""

from dataclasses import dataclass

import torch
from torch import nn

from sarigan.training.optimizers import check_adam


@dataclass(frozen=True)
class LayoutOptimizerConfig:
    """Adam for G with its encoder, and for D."""

    generator_learning_rate: float = 1e-4  # of Adam
    discriminator_learning_rate: float = 4e-4  # of Adam
    beta1: float = 0.0  # of Adam
    beta2: float = 0.9  # the code's; the paper says 0.999
    epsilon: float = 1e-8  # of Adam
    # The rates are constant up to the first number of kimg and fall linearly to 0 at the second
    decay_kimg: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_adam(self)

    def decay(self, seen_kimg: float) -> float:
        """The factor of both rates after so many thousand images."""
        if self.decay_kimg is None:
            return 1.0
        start, end = self.decay_kimg
        return 1 - min(max((seen_kimg - start) / (end - start), 0.0), 1.0)

    def adam(self, network: nn.Module, learning_rate: float) -> torch.optim.Adam:
        """The optimiser of a network."""
        return torch.optim.Adam(
            network.parameters(), lr=learning_rate, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True
        )
