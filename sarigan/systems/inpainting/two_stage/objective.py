"""The losses of CA (Yu et al. 2018) and AN (Wang et al. 2020): errors of both stages, Wasserstein critics with a penalty."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.losses.reconstruction import hole_l1, weighted_l1
from sarigan.losses.wasserstein import critic_loss, gradient_penalty, interpolate
from sarigan.systems.inpainting.two_stage.draws import TwoStageDraws
from sarigan.systems.inpainting.two_stage.generator import TwoStageOutput
from sarigan.systems.inpainting.two_stage.weighting import WEIGHTINGS
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class TwoStageObjectiveConfig:
    """Weights of the losses. Defaults are those of CA."""

    hole_weight: float = 1.2  # of the weighted L1 in the hole, images in -1..1
    known_weight: float = 1.2  # of the L1 where the image is known
    coarse_weight: float = 1.2  # of the coarse output in both
    refined_weight: float = 1.0  # of the refined output in both
    weighting: str = "discount"  # of pixels of the hole: discount (CA) | confidence (AN)
    adversarial_weight: float = 0.001  # of the critics' values in the loss of G
    gradient_penalty_weight: float = 10.0
    critic_steps: int = 5  # of the critics, each on new images, for one of G
    orthogonality_weight: float = 0.0  # of the loss of the attentive normalisation

    def __post_init__(self) -> None:
        require_one_of(self, "objective.", weighting=(*WEIGHTINGS,))
        require_at_least_1(self, "critic_steps", prefix="objective.")
        require_at_most("objective", self, critic_steps=1 << 20)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and value < 0:
                raise InputError(f"objective.{field.name} must not be negative, got {value}")


class TwoStageObjective:
    """One method a phase: shard -> (loss, scalars). `replicas` are what a loss calls that trains a network."""

    def __init__(
        self, config: TwoStageObjectiveConfig, networks: Mapping[str, nn.Module], replicas: Mapping[str, nn.Module],
        autocast_dtype: torch.dtype | None,
    ) -> None:  # fmt: skip
        self.config, self.networks, self.replicas, self.autocast_dtype = config, networks, replicas, autocast_dtype

    def discriminator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """E[D(completed) - D(real)] + weight * gradient penalty, summed over the critics."""
        images, known, draws = inputs_of(shard)
        with torch.no_grad():
            fake = self._complete(self.networks, images, known, draws).images
        between = interpolate(images, fake, draws.shares)
        # One pass, so that a data-parallel replica is called once.
        output = self._judge(self.replicas, torch.cat([images, fake, between]), known.repeat(3, 1, 1, 1))
        real_values, fake_values, values = output.chunk(3)
        loss, penalty = critic_loss(real_values, fake_values), gradient_penalty(between, values, 1 - known)
        scalars = {
            "loss/discriminator": loss.detach(), "loss/gradient_penalty": penalty.detach(),
            "logits/real": real_values.detach().mean(), "logits/fake": fake_values.detach().mean(),
        }  # fmt: skip
        return loss + self.config.gradient_penalty_weight * penalty, scalars

    def generator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """-weight * sum of D(completed), L1 of both stages in the hole and where the image is known."""
        config = self.config
        images, known, draws = inputs_of(shard)
        output = self._complete(self.replicas, images, known, draws)
        values = self._judge(self.networks, output.images, known)
        adversarial = -values.mean(dim=0).sum()
        weights = WEIGHTINGS[config.weighting](known)
        stages = (
            (config.coarse_weight, output.coarse.to(images.dtype)),
            (config.refined_weight, output.refined.to(images.dtype)),
        )
        hole = sum((weight * weighted_l1(made, images, weights) for weight, made in stages), images.new_zeros(()))
        outside = sum((weight * hole_l1(made, images, 1 - known) for weight, made in stages), images.new_zeros(()))
        loss = config.adversarial_weight * adversarial + config.hole_weight * hole + config.known_weight * outside
        scalars = {
            "loss/generator": adversarial.detach(), "loss/hole_l1": hole_l1(output.images.detach(), images, known),
            "loss/weighted_l1": hole.detach(), "loss/known_l1": outside.detach(),
        }  # fmt: skip
        if output.penalty is not None:
            loss = loss + config.orthogonality_weight * output.penalty
            scalars["loss/orthogonality"] = output.penalty.detach()
        return loss, scalars

    def _complete(
        self, networks: Mapping[str, nn.Module], images: Tensor, known: Tensor, draws: TwoStageDraws
    ) -> TwoStageOutput:
        with self._autocast(images):
            return networks["generator"](images, known, draws.positions)

    def _judge(self, networks: Mapping[str, nn.Module], images: Tensor, known: Tensor) -> Tensor:
        with self._autocast(images):
            return networks["discriminator"](images, known).to(images.dtype)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)


def inputs_of(shard: Shard) -> tuple[Tensor, Tensor, TwoStageDraws]:
    """Images [N,3,R,R], masks [N,1,R,R] and draws."""
    assert shard.batch is not None and shard.batch.mask is not None and shard.draws is not None
    return shard.batch.images, shard.batch.mask, shard.draws
