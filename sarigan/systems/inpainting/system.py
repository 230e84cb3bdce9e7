"""Inpainting by a co-modulated style-based generator: SariGAN with an encoder, and StyleGAN2 with the same one (no groups)."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from sarigan.data.masks import MaskConfig, MaskedDataConfig
from sarigan.errors import InputError
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.models.generator import GeneratorConfig
from sarigan.seeding import derive_seed
from sarigan.systems.inpainting.completing_system import CompletingSystem
from sarigan.systems.inpainting.completion import HeldOutConfig
from sarigan.systems.inpainting.draws import InpaintingRandomness
from sarigan.systems.inpainting.encoder import EncoderConfig
from sarigan.systems.inpainting.generator import InpaintingDiscriminator, InpaintingGenerator
from sarigan.systems.inpainting.objective import InpaintingObjective, InpaintingObjectiveConfig
from sarigan.systems.style.draws import StyleRandomness
from sarigan.systems.style.objective import information_dim
from sarigan.systems.style.optimizer_config import OptimizerConfig
from sarigan.systems.style.system import TINY_RESOLUTION, StyleSystem
from sarigan.systems.system import Curves, count_parameters
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig


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
        if self.generator.grouping.kind == "activation":
            raise InputError(
                "generator.grouping.kind=activation sees features of latents alone, and inpainting has none without an image:"
                " similarity, straight_through and adaptive see kernels"
            )
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


class InpaintingSystem(CompletingSystem, StyleSystem):
    """Co-modulated generator with its encoder, discriminator with its Q head, and the averaged generator."""

    GENERATOR_SEES_IMAGES: ClassVar[bool] = True
    # Each has what a style-based system reads of it.
    config: InpaintingConfig  # type: ignore[assignment]
    generator: InpaintingGenerator
    average: ExponentialMovingAverage[InpaintingGenerator]  # type: ignore[assignment]
    randomness: InpaintingRandomness  # type: ignore[assignment]

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
        separate = {id(p) for p in self.generator.separate_parameters()}
        self.generator_parameters = [p for p in self.generator.parameters() if id(p) not in separate]
        self.optimizers = self._build_optimizers(config.optimizer, config.objective)
        names = ("generator_optimizer", "discriminator_optimizer")
        self.rates = {name: self.optimizers[name].param_groups[0]["lr"] for name in names}  # before any decay
        self.phases = self._build_phases(config.objective)

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

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Adversarial losses", {"discriminator": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean logits of D", {"real": "logits/real", "completed": "logits/fake"}),
            Curves(
                "How far D knows the training images by heart (mean sign of its logits on them), and ADA's p",
                {"mean sign": "logits/real_sign", "p": "augmentation/p"},
            ),
            Curves("Mean absolute error in the hole (-1..1)", {"training batches": "loss/hole_l1"}),
            Curves("R² of Q on w (1 is perfect)", {"in the G step": "information/r2_g", "in the D step": "information/r2_d"}),
            Curves("Grouping loss (Eq. 2, mean squared error)", {"mean over layers": "loss/grouping_mse"}),
            Curves("R1 penalty", {"R1": "loss/r1"}, log_scale=True),
        ]
