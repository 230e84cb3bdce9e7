"""The losses of a step: those of SariGAN (Eq. 7) on completed images, and L1 in the hole.

G sees the known part of the real images, D a completed or a real image together with its mask. There is no path length
regularisation, as in CoModGAN. R1 is taken with respect to the image alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.errors import InputError
from sarigan.losses import gan
from sarigan.losses.reconstruction import hole_l1
from sarigan.models.discriminator import DiscriminatorOutput
from sarigan.models.generator import GeneratorOutput
from sarigan.systems.inpainting.draws import InpaintingDraws
from sarigan.systems.style.objective import GanObjective, ObjectiveConfig
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class InpaintingObjectiveConfig(ObjectiveConfig):
    """The losses of style-based systems without path lengths, and L1 in the hole."""

    path_length_weight: float = 0.0
    l1_weight: float = 0.0  # of the mean over each sample's hole, images in -1..1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path_length_weight != 0:
            raise InputError(f"objective.path_length_weight must be 0 for inpainting, got {self.path_length_weight}")
        if self.information_target != "w":
            raise InputError(
                "objective.information_target must be w for inpainting, because codes also depend on what is known,"
                f" got {self.information_target!r}"
            )


class InpaintingObjective(GanObjective):
    """One method a phase: shard -> (loss, scalars). Batches have a mask."""

    config: InpaintingObjectiveConfig

    def discriminator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Logistic loss on real and completed images, information loss on the completed ones; for D and Q."""
        images, known, draws = inputs_of(shard)
        with torch.no_grad():
            fake = self._complete(self.networks, images, known, draws)
        both = torch.cat([shard.augment(fake.images.to(images.dtype)), shard.augment(images)])
        output = self._judge(self.replicas, both, torch.cat([known, known]), num_batches=2)
        return self._losses_of_discriminator(output, fake, draws.style)

    def r1_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """interval * gamma / 2 * R1, through the augmentation to the images before it; for the trunk and D's head."""
        assert shard.batch is not None and shard.batch.mask is not None
        images = shard.batch.images.detach().requires_grad_(True)
        output = self._judge(self.replicas, shard.augment(images), shard.batch.mask)
        penalty = gan.r1_penalty(images, output.logits)
        weight = self.config.r1_gamma / 2 * self.config.r1_interval
        unused = output.logits.sum() if output.codes is None else output.logits.sum() + output.codes.sum()
        return weight * penalty + 0 * unused, {"loss/r1": penalty.detach()}

    def generator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Non-saturating loss, information loss, block-diagonal constraint, L1 in the hole; for all of G."""
        images, known, draws = inputs_of(shard)
        fake = self._complete(self.replicas, images, known, draws)
        output = self._judge(self.networks, shard.augment(fake.images), known)
        loss, scalars = self._losses_of_generator(output, fake, draws.style)
        distance = hole_l1(fake.images, images, known)
        return loss + self.config.l1_weight * distance, scalars | {"loss/hole_l1": distance.detach()}

    def _complete(
        self, networks: dict[str, nn.Module], images: Tensor, known: Tensor, draws: InpaintingDraws
    ) -> GeneratorOutput:
        style = draws.style
        with self._autocast(images):
            return networks["generator"](images, known, style.z, mixing=style.mixing, noise=style.noise, dropout=draws.dropout)

    def _judge(
        self, networks: dict[str, nn.Module], images: Tensor, known: Tensor, num_batches: int = 1
    ) -> DiscriminatorOutput:
        with self._autocast(images):
            return networks["discriminator"](images, known, num_batches=num_batches)


def inputs_of(shard: Shard) -> tuple[Tensor, Tensor, InpaintingDraws]:
    """Images [N,3,R,R], masks [N,1,R,R] and draws."""
    assert shard.batch is not None and shard.batch.mask is not None and shard.draws is not None
    return shard.batch.images, shard.batch.mask, shard.draws
