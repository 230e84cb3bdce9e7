"""The losses of a step (Park et al. 2019): hinge, feature matching, perceptual loss, KL of the encoded style.

In its own phase D sees new images of the same layouts, made with another z.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_one_of
from sarigan.losses import translation
from sarigan.systems.semantic_layout.generator import LayoutImages
from sarigan.systems.semantic_layout.layout import LayoutChannels
from sarigan.systems.semantic_layout.perceptual_loss import NETWORKS, perceptual_loss
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class LayoutObjectiveConfig:
    """Weights of the losses; the hinge loss has 1."""

    feature_matching_weight: float = 10.0
    perceptual_weight: float = 10.0
    perceptual_network: str = "efficientnet"  # efficientnet | vgg16 (the release's is VGG19) | none
    kl_weight: float = 0.2  # of the mean over samples; the release's 0.05 of a sum over the 4 images of a device

    def __post_init__(self) -> None:
        require_one_of(self, "objective.", perceptual_network=NETWORKS)
        for name in ("feature_matching_weight", "perceptual_weight", "kl_weight"):
            if getattr(self, name) < 0:
                raise InputError(f"objective.{name} must not be negative, got {getattr(self, name)}")


class LayoutObjective:
    """One method a phase: shard -> (loss, scalars). Batches have a layout."""

    def __init__(
        self, config: LayoutObjectiveConfig, channels: LayoutChannels, networks: dict[str, nn.Module],
        replicas: dict[str, nn.Module], autocast_dtype: torch.dtype | None,
    ) -> None:  # fmt: skip
        self.config, self.channels, self.networks, self.replicas = config, channels, networks, replicas
        self.autocast_dtype = autocast_dtype

    def discriminator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Hinge loss of D on real and generated images."""
        layout, images = self._inputs(shard)
        with torch.no_grad():
            made = self._make(self.networks, shard, layout, images)
        real, fake = self._judge(self.replicas, layout, images, made.images)
        loss = translation.hinge_discriminator_loss(real, fake)
        return loss, {
            "loss/discriminator": loss.detach(),
            "logits/real": _mean_logit(real),
            "logits/fake": _mean_logit(fake),
        }

    def generator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Hinge loss of G, feature matching, perceptual loss and KL; for G and its encoder."""
        layout, images = self._inputs(shard)
        made = self._make(self.replicas, shard, layout, images)
        real, fake = self._judge(self.networks, layout, images, made.images)
        config = self.config
        loss = translation.hinge_generator_loss(fake)
        scalars = {"loss/generator": loss.detach()}
        terms: list[tuple[str, float, Tensor]] = []
        if config.feature_matching_weight:
            matching = translation.feature_matching_loss(real, fake)
            terms.append(("loss/feature_matching", config.feature_matching_weight, matching))
        if config.perceptual_weight and config.perceptual_network != "none":
            distance = perceptual_loss(config.perceptual_network, made.images, images)
            terms.append(("loss/perceptual", config.perceptual_weight, distance))
        if made.mean is not None and made.log_variance is not None:
            terms.append(("loss/kl", config.kl_weight, translation.kl_divergence(made.mean, made.log_variance)))
        for name, weight, term in terms:
            loss = loss + weight * term
            scalars[name] = term.detach()
        return loss, scalars

    def _inputs(self, shard: Shard) -> tuple[Tensor, Tensor]:
        assert shard.batch is not None
        return self.channels.of(shard.batch), shard.batch.images

    def _make(self, networks: dict[str, nn.Module], shard: Shard, layout: Tensor, images: Tensor) -> LayoutImages:
        assert shard.draws is not None
        with self._autocast(images):
            return networks["generator"](layout, shard.draws.z, images)

    def _judge(
        self, networks: dict[str, nn.Module], layout: Tensor, real: Tensor, fake: Tensor
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """The maps of D for real and generated images, which pass through it as one batch."""
        with self._autocast(real):
            both = networks["discriminator"](torch.cat([layout, layout]), torch.cat([real, fake.to(real.dtype)]))
        halves = [[m.chunk(2) for m in maps] for maps in both]
        return [[r for r, _ in maps] for maps in halves], [[f for _, f in maps] for maps in halves]

    def _autocast(self, images: Tensor) -> AbstractContextManager[Any]:
        enabled = self.autocast_dtype is not None
        return torch.autocast(images.device.type, dtype=self.autocast_dtype, enabled=enabled)


def _mean_logit(scales: list[list[Tensor]]) -> Tensor:
    return torch.stack([maps[-1].detach().float().mean() for maps in scales]).mean()
