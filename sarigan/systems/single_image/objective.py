"""The losses of a scale: WGAN-GP on patches, and the reconstruction of the picture from z* (SinGAN, Eq. 3-6).

Every phase draws noise and runs its networks anew, so no update uses a graph whose weights another update has changed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.data.picture import resized
from sarigan.errors import InputError, require_at_most
from sarigan.losses import wasserstein
from sarigan.systems.single_image.generator import PyramidGenerator
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class SingleImageObjectiveConfig:
    """Weights of the losses."""

    penalty_weight: float = 0.1  # of the gradient penalty
    reconstruction_weight: float = 10.0  # of the mean squared error, images in -1..1
    noise_share: float = 0.1  # sigma_n = this times the root mean squared error of the enlarged reconstruction

    def __post_init__(self) -> None:
        for name in ("penalty_weight", "reconstruction_weight", "noise_share"):
            if getattr(self, name) < 0:
                raise InputError(f"objective.{name} must not be negative, got {getattr(self, name)}")
        require_at_most("objective", self, penalty_weight=1e6, reconstruction_weight=1e6, noise_share=1e3)


class SingleImageObjective:
    """Losses by scale: (level, scales trained together, shard) -> (loss, scalars)."""

    def __init__(self, config: SingleImageObjectiveConfig, generator: PyramidGenerator, critics: nn.ModuleList) -> None:
        self.config, self.generator, self.critics = config, generator, critics
        self._reconstructions: dict[int, Tensor] = {}  # by scale: of scales that are trained no more

    def forget(self) -> None:
        """To be called when weights of other than the trained scales have changed."""
        self._reconstructions.clear()

    def critic_phase(self, level: int, trained: range, shard: Shard) -> tuple[Tensor, Scalars]:
        """mean D(fake) - mean D(real) + weight * penalty; for the critic of the scale."""
        assert shard.draws is not None
        critic, real = self.critics[level], self.generator.real(level)
        with torch.no_grad():
            fake = self.generator(shard.draws.noises)
        distance = wasserstein.patch_critic_loss(critic(real), critic(fake))
        penalty = wasserstein.pixel_gradient_penalty(critic, real, fake, shard.draws.share)
        loss = distance + self.config.penalty_weight * penalty
        return loss, {"loss/critic": distance.detach(), "loss/penalty": penalty.detach()}

    def generator_phase(self, level: int, trained: range, shard: Shard) -> tuple[Tensor, Scalars]:
        """-mean D(fake) + weight * mean squared error of the reconstruction; for the generators of `trained`."""
        assert shard.draws is not None
        first = trained.start
        with torch.no_grad():
            below = self.generator(shard.draws.noises[:first]) if first else None
        fake = self.generator(shard.draws.noises[first:], below, first)
        adversarial = wasserstein.patch_generator_loss(self.critics[level](fake))
        again = self.generator(self.generator.reconstruction_noises(first, level + 1), self._reconstructed(first - 1), first)
        error = F.mse_loss(again, self.generator.real(level))
        loss = adversarial + self.config.reconstruction_weight * error
        return loss, {"loss/generator": adversarial.detach(), "loss/reconstruction": error.detach()}

    def amplitude(self, level: int) -> Tensor:
        """sigma of a scale above the coarsest: the more, the more detail the reconstruction before it lacks."""
        enlarged = resized(self.generator.reconstruction(level - 1), self.generator.sizes[level])
        return self.config.noise_share * F.mse_loss(enlarged, self.generator.real(level)).sqrt()

    def _reconstructed(self, level: int) -> Tensor | None:
        if level < 0:
            return None
        if level not in self._reconstructions:
            self._reconstructions = {level: self.generator.reconstruction(level)}
        return self._reconstructions[level]
