"""Inpainting by a co-modulated style-based generator: SariGAN with an encoder, and StyleGAN2 with the same one (no groups)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sarigan.data.batch import Batch
from sarigan.data.masks import MaskConfig, MaskedDataConfig
from sarigan.errors import InputError
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.models.generator import GeneratorConfig
from sarigan.seeding import derive_seed
from sarigan.systems.inpainting.completion import Completions, HeldOutConfig, MaskedImages
from sarigan.systems.inpainting.draws import InpaintingRandomness
from sarigan.systems.inpainting.encoder import EncoderConfig
from sarigan.systems.inpainting.generator import InpaintingDiscriminator, InpaintingGenerator
from sarigan.systems.inpainting.objective import InpaintingObjective, InpaintingObjectiveConfig
from sarigan.systems.style.draws import StyleRandomness
from sarigan.systems.style.objective import information_dim, with_information_r2
from sarigan.systems.style.optimizer_config import OptimizerConfig
from sarigan.systems.style.report import group_statistics
from sarigan.systems.style.system import TINY_RESOLUTION
from sarigan.systems.system import Curves, Phase, System, count_parameters
from sarigan.training.optimizers import lazy_adam
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig
from sarigan.visualization.completion_sheet import with_holes


@dataclass(frozen=True)
class InpaintingConfig(RunConfig):
    """Everything that defines a run of a co-modulated generator."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator", "encoder", "discriminator")
    NOT_ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator.grouping.freeze_kimg", "encoder.dropout")
    AUGMENTS: ClassVar[str] = "appearance"  # the mask beside an image would not move with it

    system: str = "inpainting"
    data: MaskedDataConfig = field(default_factory=MaskedDataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    objective: InpaintingObjectiveConfig = field(default_factory=InpaintingObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generator.synthesis != "skip":
            raise InputError(f"generator.synthesis must be skip for inpainting, got {self.generator.synthesis!r}")
        if self.objective.mixing_kind == "halves" and self.generator.grouping.kind == "none":
            raise InputError("objective.mixing_kind=halves needs w = [w_h, w_z], got generator.grouping.kind='none'")

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def shard_multiple(self) -> int:
        return self.discriminator.minibatch_stddev_group

    def build(self, precision: Precision) -> "InpaintingSystem":
        return InpaintingSystem(self, precision)

    def tiny(self) -> "InpaintingConfig":
        grouping = dataclasses.replace(self.generator.grouping, max_group_share=0.25)
        widths: dict[str, Any] = {"channel_base": 64, "channel_max": 16}
        sizes: dict[str, Any] = {"resolution": TINY_RESOLUTION, "z_dim": 16, "style_dim": 16, "mapping_layers": 2}
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, mask=MaskConfig()),
            generator=dataclasses.replace(self.generator, grouping=grouping, **sizes, **widths),
            encoder=dataclasses.replace(self.encoder, global_dim=16),
            discriminator=dataclasses.replace(self.discriminator, **widths),
            objective=dataclasses.replace(self.objective, r1_interval=1),
            held_out=HeldOutConfig(),
        )

    def method(self) -> str:
        groups = self.generator.grouping.kind
        return "inpainting by " + ("StyleGAN2" if groups == "none" else f"SariGAN, {groups} groups")


class InpaintingSystem(System):
    """Co-modulated generator with its encoder, discriminator with its Q head, and the averaged generator."""

    def __init__(self, config: InpaintingConfig, precision: Precision) -> None:
        self.config, self.resolution = config, config.resolution
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = InpaintingGenerator(config.generator, config.encoder)
            codes = information_dim(config.objective, generator)
            discriminator = InpaintingDiscriminator(config.discriminator, config.resolution, codes)
        self.generator = precision.place(generator)
        self.discriminator = precision.place(discriminator)
        self.average = ExponentialMovingAverage(self.generator)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.replicas = dict(self.networks)
        self.averages = {"ema_generator": self.average}
        self.objective = InpaintingObjective(
            config.objective, self.generator, self.discriminator, precision.autocast_dtype, self.replicas
        )
        self.tensors = {}
        style = StyleRandomness(
            config.training.seed, self.generator, config.objective.mixing_probability, config.objective.mixing_kind,
            precision.device, precision.parameter_dtype,
        )  # fmt: skip
        self.randomness = InpaintingRandomness(style, self.generator, config.encoder.dropout)
        self.grouping_parameters = self.generator.grouping_parameters()
        grouping = {id(p) for p in self.grouping_parameters}
        self.generator_parameters = [p for p in self.generator.parameters() if id(p) not in grouping]
        self.optimizers = self._build_optimizers(config.optimizer)
        names = ("generator_optimizer", "discriminator_optimizer")
        self.rates = {name: self.optimizers[name].param_groups[0]["lr"] for name in names}  # before any decay
        self.phases = self._build_phases(config.objective)

    def _build_optimizers(self, config: OptimizerConfig) -> dict[str, torch.optim.Optimizer]:
        betas = (config.beta1, config.beta2)
        lazy = self.config.objective.r1_interval if self.config.objective.r1_gamma else None
        found: dict[str, torch.optim.Optimizer] = {
            "generator_optimizer": lazy_adam(self.generator_parameters, config.generator_learning_rate, betas, config.epsilon),
            "discriminator_optimizer": lazy_adam(
                self.discriminator.parameters(), config.discriminator_learning_rate, betas, config.epsilon, lazy
            ),
        }
        if self.grouping_parameters:
            found["grouping_optimizer"] = lazy_adam(
                self.grouping_parameters, config.grouping_learning_rate, betas, config.grouping_epsilon
            )
        return found

    def _build_phases(self, config: InpaintingObjectiveConfig) -> list[Phase]:
        """In their order; those of weight 0 are left out."""
        batch_size, draw = self.config.training.batch_size, self.randomness.draw
        discriminator_parameters = list(self.discriminator.parameters())
        recognition = self.discriminator.recognition
        codes_only = {id(p) for p in recognition.parameters()} if recognition is not None else set()
        phases = [
            Phase(
                "discriminator", self.objective.discriminator_phase, "discriminator", discriminator_parameters,
                self.optimizers["discriminator_optimizer"], batch_size=batch_size, draw=draw, needs_real_images=True,
                real_sign="logits/real_sign",
            )
        ]  # fmt: skip
        if config.r1_gamma:
            trunk_and_head = [p for p in discriminator_parameters if id(p) not in codes_only]
            phases.append(
                Phase(
                    "r1", self.objective.r1_phase, "discriminator", trunk_and_head,
                    self.optimizers["discriminator_optimizer"], interval=config.r1_interval, needs_real_images=True,
                )
            )  # fmt: skip
        phases.append(
            Phase(
                "generator", self.objective.generator_phase, "generator", self.generator_parameters,
                self.optimizers["generator_optimizer"], batch_size=batch_size, draw=draw, needs_real_images=True,
            )
        )  # fmt: skip
        if self.grouping_parameters:
            freeze = self.config.generator.grouping.freeze_kimg
            phases.append(
                Phase(
                    "grouping", self.objective.grouping_phase, "generator", self.grouping_parameters,
                    self.optimizers["grouping_optimizer"], interval=config.grouping_interval, uses_replica=False,
                    until_step=None if freeze is None else math.ceil(freeze * 1000 / batch_size),
                )
            )  # fmt: skip
        return phases

    def separate_parameters(self, network: str) -> list[nn.Parameter]:
        return self.grouping_parameters if network == "generator" else []

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        """A batch of grey images whose left half is known."""
        batch = super().example_batch(num_images, device, dtype)
        half = self.resolution // 2
        known = torch.cat([torch.ones(half, device=device, dtype=dtype), torch.zeros(half, device=device, dtype=dtype)])
        batch.mask = known.expand(num_images, 1, self.resolution, self.resolution)
        return batch

    @functools.cached_property
    def completions(self) -> Completions:
        """Of the held-out images by the averaged generator. InputError when the images or their masks cannot be read."""
        config = self.config
        masked = MaskedImages(config.data, config.held_out, config.resolution, config.training.seed)
        return Completions(self.average.module, masked)

    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """Pairs: a held-out image with its hole, and its completion; half as many images as are asked for."""
        indices = range(min(max(1, num_images // 2), len(self.completions)))
        for start in range(0, len(indices), batch_size):
            images, known, completed = self.completions.complete(indices[start : start + batch_size])
            yield torch.stack([with_holes(images, known), completed], dim=1).flatten(0, 1)

    def begin_step(self, seen_kimg: float) -> None:
        factor = self.config.optimizer.decay(seen_kimg)
        for name, rate in self.rates.items():
            self.optimizers[name].param_groups[0]["lr"] = rate * factor

    def prepare_to_save(self) -> None:
        """Set the averaged generator's centre of truncation."""
        self.average.module.update_mean_latent()

    def log_values(self, means: dict[str, float]) -> dict[str, float]:
        return with_information_r2(means) | group_statistics(self.generator, self.average.module)

    def describe(self) -> list[tuple[str, int, str]]:
        generator, discriminator = self.generator, self.discriminator
        rows: list[tuple[str, nn.Module, str]] = [
            ("generator", generator, ""),
            ("  mapping", generator.mapping, f"z {generator.config.z_dim} -> w {generator.config.w_dim}"),
            ("  encoder", generator.encoder, f"known part -> global code {self.config.encoder.global_dim}"),
            ("  start", generator.start, "global code -> 4x4"),
            ("  synthesis", generator.synthesis, f"{generator.num_latents} latents"),
        ]
        for layer in generator.grouped_layers():
            text = f"{layer.grouping.num_channels} channels in {layer.grouping.num_groups} groups"
            rows.append((f"    groups of {layer.name}", layer.grouping, text))
        rows.append(("discriminator", discriminator, f"{self.resolution} px, mask and image"))
        if discriminator.recognition is not None:
            head = discriminator.recognition
            rows.append(("  Q head", head, f"{head.linear.weight.shape[0]} codes"))
        return [(name, count_parameters(module), text) for name, module, text in rows]

    def evaluation_inputs(self) -> dict[str, Any]:
        return {"samples": self.completions}

    def report_sections(self) -> list[Callable[[], Any]]:
        from sarigan.systems.inpainting.report import sections  # seconds of imports that training does without

        return sections(self.completions)

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Adversarial losses", {"discriminator": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean logits of D", {"real": "logits/real", "completed": "logits/fake"}),
            Curves("How far D knows the training images by heart (mean sign of its logits on them), and ADA's p",
                   {"mean sign": "logits/real_sign", "p": "augmentation/p"}),
            Curves("Mean absolute error in the hole (-1..1)", {"training batches": "loss/hole_l1"}),
            Curves("R² of Q on w (1 is perfect)", {"in the G step": "information/r2_g", "in the D step": "information/r2_d"}),
            Curves("Grouping loss (Eq. 2, mean squared error)", {"mean over layers": "loss/grouping_mse"}),
            Curves("R1 penalty", {"R1": "loss/r1"}, log_scale=True),
        ]
