"""The losses of a step, phase by phase (SariGAN Eq. 7; order of the release: D, R1, G, path length; then grouping).

A step takes one batch of real images and, for every phase, latents and noise of its own. The information loss regresses
the codes of the image being shown, in the D step (training trunk and Q) and in the G step (training G through the
image; Q is fixed there). When layers mix two latents no single w describes the image: the loss is then skipped, or
regresses the mean over the layers (`information_under_mixing`); mixing *halves* keeps it defined in every step.
Regularisers add zero times every output, so that each parameter of the network has a gradient in every phase, as
data-parallel training needs; parameters a phase does not own are not stepped.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.data.batch import Batch
from sarigan.errors import InputError, require_at_least_1, require_at_most
from sarigan.losses import gan
from sarigan.losses.gan import explained_variance_terms, information_loss, path_length_penalty, path_lengths, r1_penalty
from sarigan.models.discriminator import Discriminator, DiscriminatorOutput, information_target
from sarigan.models.generator import Generator, GeneratorOutput
from sarigan.systems.style.draws import StyleDraws
from sarigan.systems.system import Scalars, Shard


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights and intervals of the losses (SariGAN Eq. 7, StyleGAN2). Defaults are the paper's preset."""

    r1_gamma: float = 10.0  # gamma / 2 times the squared gradient of D at real images; 0: off
    r1_interval: int = 16  # steps; the penalty is multiplied by it
    path_length_weight: float = 2.0  # 0: off
    path_length_interval: int = 4  # steps; the penalty is multiplied by it
    path_length_decay: float = 0.01  # share of a step's lengths in the mean that they are held to
    path_length_batch_shrink: int = 2  # the penalty sees batch / this images
    grouping_weight: float = 2.0  # lambda_1 of Eq. 7
    grouping_interval: int = 1  # steps between two updates of the groups; the kernels change slowly
    threshold_weight: float = 5.0  # of a learned threshold's loss
    block_diagonal_weight: float = 1.0  # of the DBT constraint, kind `block_diagonal`
    information_weight: float = 10.0  # lambda_2 of Eq. 7, on the mean squared error; 0: off, and no Q head
    information_target: str = "w"  # w = [w_h, w_z] | codes: h and z of every grouped layer
    information_in_nats: bool = False  # sum over dimensions / 2 instead of their mean
    information_under_mixing: str = "skip"  # when layers mix two latents: skip | regress (their mean over the layers)
    mixing_probability: float = 0.9  # of style mixing, decided once a phase and step
    mixing_kind: str = "layers"  # layers | halves (w_h of one latent, w_z of another; always regressable)

    def __post_init__(self) -> None:
        choices = {
            "information_target": ("w", "codes"),
            "information_under_mixing": ("skip", "regress"),
            "mixing_kind": ("layers", "halves"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"objective.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        intervals = ("r1_interval", "path_length_interval", "path_length_batch_shrink", "grouping_interval")
        require_at_least_1(self, *intervals, prefix="objective.")
        require_at_most("objective", self, **dict.fromkeys(intervals, 1 << 20))
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and value < 0:
                raise InputError(f"objective.{f.name} must not be negative, got {value}")
        for name in ("mixing_probability", "path_length_decay"):
            if getattr(self, name) > 1:
                raise InputError(f"objective.{name} must be at most 1, got {getattr(self, name)}")


class GanObjective:
    """One method a phase: shard -> (loss, scalars). `autocast_dtype` None: full precision."""

    def __init__(
        self,
        config: ObjectiveConfig,
        generator: Generator,
        discriminator: Discriminator,
        autocast_dtype: torch.dtype | None = None,
        replicas: dict[str, nn.Module] | None = None,
    ) -> None:
        self.config = config
        self.generator, self.discriminator = generator, discriminator
        networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        # What a loss that trains a network calls: data-parallel replicas over several processes (`System.replicas`).
        self.replicas = networks if replicas is None else replicas
        # What a loss calls that trains the other one: a replica would wait for gradients that never come.
        self.networks = networks
        self.autocast_dtype = autocast_dtype
        self.has_classes = bool(generator.config.class_names)
        parameter = next(generator.parameters())
        self.mean_path_length = torch.zeros((), device=parameter.device, dtype=parameter.dtype)

    def discriminator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Logistic loss on real and fake images, information loss on the fake ones; for D and Q."""
        assert shard.draws is not None and shard.batch is not None
        with torch.no_grad():
            fake = self._generate(self.networks, shard.draws)
        real = shard.batch.images
        # One pass over both batches: small layers take as long to call as to compute.
        images = torch.cat([shard.augment(fake.images.to(real.dtype)), shard.augment(real)])
        labels = None if shard.draws.labels is None else torch.cat([shard.draws.labels, _labels_of(shard.batch)])
        output = self._discriminate(self.replicas, images, labels, num_batches=2)
        return self._losses_of_discriminator(output, fake, shard.draws)

    def r1_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """interval * gamma / 2 * R1, through the augmentation to the images before it; for the trunk and D's head."""
        assert shard.batch is not None
        images = shard.batch.images.detach().requires_grad_(True)
        labels = _labels_of(shard.batch) if self.has_classes else None
        output = self._discriminate(self.replicas, shard.augment(images), labels)
        penalty = r1_penalty(images, output.logits)
        weight = self.config.r1_gamma / 2 * self.config.r1_interval
        return weight * penalty + _zero_of(output.logits, output.codes), {"loss/r1": penalty.detach()}

    def generator_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Non-saturating loss, information loss through the image, block-diagonal constraint; for mapping and synthesis."""
        assert shard.draws is not None
        fake = self._generate(self.replicas, shard.draws)
        output = self._discriminate(self.networks, shard.augment(fake.images), shard.draws.labels)
        return self._losses_of_generator(output, fake, shard.draws)

    def path_length_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """interval * weight * path length penalty over the whole w; for mapping and synthesis."""
        assert shard.draws is not None and shard.draws.image_noise is not None
        fake = self._generate(self.replicas, shard.draws)
        lengths = path_lengths(fake.images, fake.latents, shard.draws.image_noise)
        penalty = path_length_penalty(lengths, self.mean_path_length)
        weight = self.config.path_length_weight * self.config.path_length_interval
        scalars = {"loss/path_length": penalty.detach(), "path_length/mean": lengths.detach().mean()}
        return weight * penalty + _zero_of(fake.images), scalars

    def after_path_length(self, scalars: Scalars) -> None:
        """a <- a + decay * (mean length - a), once every rank and round has been seen; unless that is not finite."""
        moved = torch.lerp(self.mean_path_length, scalars["path_length/mean"], self.config.path_length_decay)
        self.mean_path_length.copy_(torch.where(moved.isfinite(), moved, self.mean_path_length))

    def grouping_phase(self, shard: Shard) -> tuple[Tensor, Scalars]:
        """Eq. 2 and the learned threshold's loss, summed over the layers; for the grouping parameters, from the kernels.

        A function of the weights alone, which are equal on all ranks. The gradients differ by the rounding of unlike
        processors. The trainer averages them, because training would amplify the difference to unlike groups.
        """
        found = [layer.grouping.loss(layer.kernel) for layer in self.generator.grouped_layers()]
        losses = [item for item in found if item is not None]
        loss = self.config.grouping_weight * torch.stack([item.similarity for item in losses]).sum()
        scalars = {"loss/grouping_mse": torch.stack([item.mean_squared_error for item in losses]).mean()}
        thresholds = [item.threshold for item in losses if item.threshold is not None]
        if thresholds:
            loss = loss + self.config.threshold_weight * torch.stack(thresholds).sum()
            scalars["loss/threshold"] = torch.stack(thresholds).detach().mean()
        return loss, scalars

    def _generate(self, networks: dict[str, nn.Module], draws: StyleDraws) -> GeneratorOutput:
        with self._autocast(draws.z):
            return networks["generator"](draws.z, mixing=draws.mixing, noise=draws.noise, labels=draws.labels)

    def _discriminate(
        self, networks: dict[str, nn.Module], images: Tensor, labels: Tensor | None = None, num_batches: int = 1
    ) -> DiscriminatorOutput:
        with self._autocast(images):
            return networks["discriminator"](images, num_batches=num_batches, labels=labels)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def _losses_of_discriminator(
        self, output: DiscriminatorOutput, fake: GeneratorOutput, draws: StyleDraws
    ) -> tuple[Tensor, Scalars]:
        """Of a pass over fake and real images, in this order; information loss on the fake ones."""
        fake_logits, real_logits = output.logits.chunk(2)
        codes = None if output.codes is None else output.codes.chunk(2)[0]
        loss = gan.discriminator_loss(real_logits, fake_logits)
        scalars = {
            "loss/discriminator": loss.detach(),
            "logits/real": real_logits.detach().mean(),
            "logits/real_sign": real_logits.detach().sign().mean(),
            "logits/fake": fake_logits.detach().mean(),
        }
        information, terms = self._information(DiscriminatorOutput(fake_logits, codes), fake, draws)
        return loss + information, scalars | {f"{key}_d": value for key, value in terms.items()}

    def _losses_of_generator(
        self, output: DiscriminatorOutput, fake: GeneratorOutput, draws: StyleDraws
    ) -> tuple[Tensor, Scalars]:
        """Non-saturating loss, information loss, block-diagonal constraint."""
        loss = gan.generator_loss(output.logits)
        scalars = {"loss/generator": loss.detach()}
        information, terms = self._information(output, fake, draws)
        scalars |= {f"{key}_g": value for key, value in terms.items()}
        found = [layer.grouping.kernel_loss(layer.kernel) for layer in self.generator.grouped_layers()]
        constraints = [constraint for constraint in found if constraint is not None]
        if constraints:
            constraint = torch.stack(constraints).mean()
            scalars["loss/block_diagonal"] = constraint.detach()
            loss = loss + self.config.block_diagonal_weight * constraint
        return loss + information, scalars

    def _information(self, output: DiscriminatorOutput, fake: GeneratorOutput, draws: StyleDraws) -> tuple[Tensor, Scalars]:
        """Weighted information loss and the terms of R^2; zero times Q's output when there is nothing to regress."""
        if output.codes is None:
            return output.logits.new_zeros(()), {}
        if draws.mixing is not None and draws.mixing.kind == "layers" and self.config.information_under_mixing == "skip":
            return _zero_of(output.codes), {}
        target = information_target(fake, self.config.information_target)
        loss = information_loss(output.codes, target, self.config.information_in_nats)
        error, variance = explained_variance_terms(output.codes, target)
        terms = {"information/mse": error, "information/variance": variance}
        return self.config.information_weight * loss, terms


def information_dim(config: ObjectiveConfig, generator: Generator) -> int:
    """The number of outputs of Q; 0 without an information loss."""
    if config.information_weight == 0:
        return 0
    if config.information_target == "w":
        return generator.config.w_dim
    return sum(layer.grouping.num_channels + layer.grouping.num_groups for layer in generator.grouped_layers())


def with_information_r2(means: dict[str, float]) -> dict[str, float]:
    """Replace mean squared error and variance of the Q head's target by R^2 = 1 - MSE / Var beside the MSE."""
    means = dict(means)
    for phase in ("d", "g"):
        variance = means.pop(f"information/variance_{phase}", 0.0)
        if variance > 0:
            means[f"information/r2_{phase}"] = 1 - means[f"information/mse_{phase}"] / variance
    return means


def _labels_of(batch: Batch) -> Tensor:
    assert batch.labels is not None  # a generator has classes where its data set has labels
    return batch.labels


def _zero_of(*outputs: Tensor | None) -> Tensor:
    total = sum(output.sum() for output in outputs if output is not None)
    assert isinstance(total, Tensor)
    return 0 * total
