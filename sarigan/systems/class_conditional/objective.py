"""The losses of a class-conditional system: one method a phase."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_at_least_1, require_at_most
from sarigan.losses.hinge import hinge_discriminator_loss, hinge_generator_loss, orthogonal_penalty
from sarigan.models.class_conditional_discriminator import ClassConditionalDiscriminator
from sarigan.models.class_conditional_generator import ClassConditionalGenerator
from sarigan.systems.class_conditional.draws import ClassDraws
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class ClassConditionalObjectiveConfig:
    """Weights and intervals of the losses."""

    discriminator_steps: int = 1  # steps of D for one of G; a step of training is one of D
    orthogonal_weight: float = 0.0  # of BigGAN's penalty of G's weights, which the release leaves off; the paper: 1e-4

    def __post_init__(self) -> None:
        require_at_least_1(self, "discriminator_steps", prefix="objective.")
        require_at_most("objective", self, discriminator_steps=1000)
        if self.orthogonal_weight < 0:
            raise InputError(f"objective.orthogonal_weight must not be negative, got {self.orthogonal_weight}")


class HingeObjective:
    """Hinge losses of D and G. `autocast_dtype` None: full precision."""

    def __init__(
        self, config: ClassConditionalObjectiveConfig, generator: ClassConditionalGenerator,
        discriminator: ClassConditionalDiscriminator, autocast_dtype: torch.dtype | None, replicas: dict[str, nn.Module],
    ) -> None:  # fmt: skip
        self.config, self.autocast_dtype, self.replicas = config, autocast_dtype, replicas
        self.generator, self.discriminator = generator, discriminator
        embedding = generator.mapping.embedding
        self.penalized = [
            parameter
            for parameter in generator.parameters()
            if parameter.ndim >= 2 and (embedding is None or parameter is not embedding.weight)
        ]

    def discriminator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Hinge loss on real and fake images; for D. G is in training mode: its statistics are those of this batch."""
        assert shard.draws is not None and shard.batch is not None and shard.batch.labels is not None
        with torch.no_grad(), self._autocast(shard.draws.z):
            fake = self._images(self.generator, shard.draws)
        real = shard.batch.images
        # One pass over both batches: small layers take as long to call as to compute.
        images = torch.cat([shard.augment(fake.to(real.dtype)), shard.augment(real)])
        labels = torch.cat([shard.draws.labels, shard.batch.labels])
        with self._autocast(images):
            fake_logits, real_logits = self.replicas["discriminator"](images, labels).chunk(2)
        loss = hinge_discriminator_loss(real_logits, fake_logits)
        scalars = {
            "loss/discriminator": loss.detach(),
            "logits/real": real_logits.detach().mean(),
            "logits/real_sign": real_logits.detach().sign().mean(),
            "logits/fake": fake_logits.detach().mean(),
        }
        return loss, scalars

    def generator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Hinge loss and orthogonal penalty; for G."""
        assert shard.draws is not None
        with self._autocast(shard.draws.z):
            fake = self._images(self.replicas["generator"], shard.draws)
            logits = self.discriminator(shard.augment(fake), shard.draws.labels)
        loss = hinge_generator_loss(logits)
        scalars = {"loss/generator": loss.detach()}
        if self.config.orthogonal_weight:
            penalty = orthogonal_penalty(self.penalized)
            scalars["loss/orthogonal"] = penalty.detach()
            loss = loss + self.config.orthogonal_weight * penalty
        return loss, scalars

    def _images(self, generator: nn.Module, draws: ClassDraws) -> Tensor:
        images: Tensor = generator(draws.z, labels=draws.labels).images
        return images

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)
