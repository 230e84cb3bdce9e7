"""SariGAN, StyleGAN2, StyleGAN and the control groupings as one system: they differ by their configuration alone.

Phases and lazy regularisation: Karras et al. 2020 (StyleGAN2), appendix B; losses: SariGAN Eq. 7.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.device import to_device
from sarigan.errors import InputError
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.seeding import derive_seed
from sarigan.systems.style.draws import StyleRandomness
from sarigan.systems.style.objective import GanObjective, ObjectiveConfig, information_dim, with_information_r2
from sarigan.systems.style.observation import FeatureObservation
from sarigan.systems.style.optimizer_config import OptimizerConfig
from sarigan.systems.style.report import group_statistics
from sarigan.systems.system import Curves, Phase, System, count_parameters
from sarigan.training.batch_plan import plan_batch
from sarigan.training.optimizers import lazy_adam
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig, with_classes_of_generator

TINY_RESOLUTION = 8


@dataclass(frozen=True)
class StyleConfig(RunConfig):
    """Everything that defines a run of a style-based generator."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    NOT_ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator.grouping.freeze_kimg", "generator.class_shares")
    AUGMENTS: ClassVar[str] = "everything"
    CUDA_GRAPHS: ClassVar[bool] = True

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective.mixing_kind == "halves" and self.generator.grouping.kind == "none":
            raise InputError("objective.mixing_kind=halves needs w = [w_h, w_z], got generator.grouping.kind='none'")
        if self.objective.information_target == "codes" and self.generator.grouping.kind == "none":
            raise InputError("objective.information_target=codes needs groups, got generator.grouping.kind='none'")

        if self.generator.class_names and self.data.labels is None:
            raise InputError("generator.class_names are those of data.labels, got data.labels=null")

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def class_names(self) -> list[str]:
        return self.generator.class_names

    def with_classes(self, shares: Mapping[str, float]) -> "StyleConfig":
        return with_classes_of_generator(self, shares)

    @property
    def shard_multiple(self) -> int:
        return self.discriminator.minibatch_stddev_group

    def build(self, precision: Precision) -> "StyleSystem":
        return StyleSystem(self, precision)

    def tiny(self) -> "StyleConfig":
        grouping = dataclasses.replace(self.generator.grouping, max_group_share=0.25)
        widths: dict[str, Any] = {"channel_base": 64, "channel_max": 16}
        sizes: dict[str, Any] = {"resolution": TINY_RESOLUTION, "z_dim": 16, "style_dim": 16, "mapping_layers": 2}
        return dataclasses.replace(
            self,
            generator=dataclasses.replace(self.generator, grouping=grouping, **sizes, **widths),
            discriminator=dataclasses.replace(self.discriminator, **widths),
            objective=dataclasses.replace(self.objective, r1_interval=1, path_length_interval=1),
        )

    def averaged_generator(self, weights: Mapping[str, Any], device: str | torch.device) -> Generator | None:
        """From `ema_generator`."""
        return Generator.from_weights(self.generator, weights["ema_generator"], device)

    def method(self) -> str:
        groups = self.generator.grouping.kind
        if groups != "none":
            return f"SariGAN, {groups} groups"
        return "StyleGAN" if self.generator.synthesis == "adain" else "StyleGAN2"


class StyleSystem(System):
    """Generator, discriminator with its Q head, the averaged generator, and one optimiser for each set of parameters."""

    GENERATOR_SEES_IMAGES: ClassVar[bool] = False  # whether the loss of G is given real images
    observation: FeatureObservation | None = None

    def __init__(self, config: StyleConfig, precision: Precision) -> None:
        self.config, self.resolution = config, config.resolution
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = Generator(config.generator)
            codes = information_dim(config.objective, generator)
            num_classes = len(config.class_names)
            discriminator = Discriminator(config.discriminator, config.resolution, codes, num_classes)
        self.generator = precision.place(generator)
        self.discriminator = precision.place(discriminator)
        self.average = ExponentialMovingAverage(self.generator)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.replicas = dict(self.networks)
        self.averages = {"ema_generator": self.average}
        self.objective = GanObjective(
            config.objective, self.generator, self.discriminator, precision.autocast_dtype, self.replicas
        )
        self.tensors = {"mean_path_length": self.objective.mean_path_length}
        mixing = (config.objective.mixing_probability, config.objective.mixing_kind)
        self.randomness = StyleRandomness(
            config.training.seed, self.generator, *mixing, precision.device, precision.parameter_dtype
        )
        self.grouping_parameters = self.generator.grouping_parameters()
        separate = {id(p) for p in self.generator.separate_parameters()}
        self.generator_parameters = [p for p in self.generator.parameters() if id(p) not in separate]
        self.optimizers = self._build_optimizers(config.optimizer, config.objective)
        names = ("generator_optimizer", "discriminator_optimizer")
        self.rates = {name: self.optimizers[name].param_groups[0]["lr"] for name in names}  # before any decay
        self.phases = self._build_phases(config.objective)
        self.observation = FeatureObservation(
            self.generator, self.average.module, self.randomness, config.training.batch_size, precision.autocast_dtype
        )

    def _build_optimizers(self, optimizer: OptimizerConfig, objective: ObjectiveConfig) -> dict[str, torch.optim.Optimizer]:
        betas = (optimizer.beta1, optimizer.beta2)
        found: dict[str, torch.optim.Optimizer] = {
            "generator_optimizer": lazy_adam(
                self.generator_parameters, optimizer.generator_learning_rate, betas, optimizer.epsilon,
                objective.path_length_interval if objective.path_length_weight else None,
            ),
            "discriminator_optimizer": lazy_adam(
                self.discriminator.parameters(), optimizer.discriminator_learning_rate, betas, optimizer.epsilon,
                objective.r1_interval if objective.r1_gamma else None,
            ),
        }  # fmt: skip
        if self.grouping_parameters:
            found["grouping_optimizer"] = lazy_adam(
                self.grouping_parameters, optimizer.grouping_learning_rate, betas, optimizer.grouping_epsilon
            )
        return found

    def _build_phases(self, config: ObjectiveConfig) -> list[Phase]:
        """In their order; those of weight 0 are left out."""
        objective, batch_size, draw = self.objective, self.config.training.batch_size, self.randomness.draw
        discriminator_parameters = list(self.discriminator.parameters())
        recognition = self.discriminator.recognition
        codes_only = {id(p) for p in recognition.parameters()} if recognition is not None else set()
        phases = [
            Phase(
                "discriminator", objective.discriminator_phase, "discriminator", discriminator_parameters,
                self.optimizers["discriminator_optimizer"], batch_size=batch_size, draw=draw, needs_real_images=True,
                real_sign="logits/real_sign",
            )
        ]  # fmt: skip
        if config.r1_gamma:
            trunk_and_head = [p for p in discriminator_parameters if id(p) not in codes_only]
            phases.append(
                Phase(
                    "r1", objective.r1_phase, "discriminator", trunk_and_head,
                    self.optimizers["discriminator_optimizer"], interval=config.r1_interval, needs_real_images=True,
                )
            )  # fmt: skip
        phases.append(
            Phase(
                "generator", objective.generator_phase, "generator", self.generator_parameters,
                self.optimizers["generator_optimizer"], batch_size=batch_size, draw=draw,
                needs_real_images=self.GENERATOR_SEES_IMAGES,
            )
        )  # fmt: skip
        if config.path_length_weight:
            phases.append(
                Phase(
                    "path_length", objective.path_length_phase, "generator", self.generator_parameters,
                    self.optimizers["generator_optimizer"], interval=config.path_length_interval,
                    batch_size=max(1, batch_size // config.path_length_batch_shrink),
                    draw=functools.partial(draw, image_noise=True), after=objective.after_path_length,
                )
            )  # fmt: skip
        if self.grouping_parameters:
            freeze = self.config.generator.grouping.freeze_kimg
            phases.append(
                Phase(
                    "grouping", objective.grouping_phase, "generator", self.grouping_parameters,
                    self.optimizers["grouping_optimizer"], interval=config.grouping_interval, uses_replica=False,
                    until_step=None if freeze is None else math.ceil(freeze * 1000 / batch_size),
                )
            )  # fmt: skip
        return phases

    def separate_parameters(self, network: str) -> list[nn.Parameter]:
        return self.generator.separate_parameters() if network == "generator" else []

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        batch = super().example_batch(num_images, device, dtype)
        if self.config.class_names:
            batch.labels = torch.zeros(num_images, dtype=torch.int64, device=device)
        return batch

    @torch.no_grad()
    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        generator = self.average.module
        source = torch.Generator().manual_seed(0)
        z = torch.randn(num_images, generator.config.z_dim, generator=source)
        (z,) = to_device([z], generator.mean_latent.device, generator.mean_latent.dtype)
        # Classes in turn, so that a grid shows them in columns wherever their number divides its width.
        count = len(self.config.class_names)
        labels = torch.arange(num_images, device=z.device) % count if count else None
        for start in range(0, num_images, batch_size):
            part = slice(start, start + batch_size)
            yield generator(z[part], noise="fixed", labels=None if labels is None else labels[part]).images

    def begin_step(self, seen_kimg: float) -> None:
        factor = self.config.optimizer.decay(seen_kimg)
        for name, rate in self.rates.items():
            self.optimizers[name].param_groups[0]["lr"] = rate * factor
        step = round(seen_kimg * 1000 / self.config.training.batch_size)
        if self.observation is not None and any(phase.name == "grouping" and phase.is_due(step) for phase in self.phases):
            self.observation(step, plan_batch(self.config.training, distributed.world_size()).num_rounds)

    def prepare_to_save(self) -> None:
        """Set the averaged generator's centre of truncation."""
        self.average.module.update_mean_latent()

    def log_values(self, means: dict[str, float]) -> dict[str, float]:
        return with_information_r2(means) | group_statistics(self.generator, self.average.module)

    def describe(self) -> list[tuple[str, int, str]]:
        generator, discriminator = self.generator, self.discriminator
        classes = f", {len(generator.config.class_names)} classes" if generator.config.class_names else ""
        rows: list[tuple[str, nn.Module, str]] = [
            ("generator", generator, ""),
            ("  mapping", generator.mapping, f"z {generator.config.z_dim}{classes} -> w {generator.config.w_dim}"),
            ("  synthesis", generator.synthesis, f"{generator.num_latents} latents"),
        ]
        for layer in generator.grouped_layers():
            text = f"{layer.grouping.num_channels} channels in {layer.grouping.num_groups} groups"
            rows.append((f"    groups of {layer.name}", layer.grouping, text))
        rows.append(("discriminator", discriminator, f"{self.resolution} px"))
        if discriminator.recognition is not None:
            head = discriminator.recognition
            rows.append(("  Q head", head, f"{head.linear.weight.shape[0]} codes"))
        return [(name, count_parameters(module), text) for name, module, text in rows]

    def notes(self) -> list[str]:
        """One line a layer whose number of groups `max_group_share` lowered."""
        config = self.config.generator.grouping
        return [
            f"groups: {layer.name} has {layer.grouping.num_groups} instead of {config.num_groups}"
            f" (max_group_share {config.max_group_share} of {layer.grouping.num_channels} channels)"
            for layer in self.generator.grouped_layers()
            if layer.grouping.num_groups < config.num_groups
        ]

    def evaluation_inputs(self) -> dict[str, Any]:
        return {
            "generator": self.average.module,
            "discriminator": self.discriminator,
            "information_target": self.config.objective.information_target,
        }

    def report_sections(self) -> list[Callable[[], Any]]:
        from sarigan.systems.style.report import sections  # seconds of imports that training does without

        return sections(self.average.module, self.config.data.name == "avatars")

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Adversarial losses", {"discriminator": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean logits of D", {"real": "logits/real", "generated": "logits/fake"}),
            Curves(
                "How far D knows the training images by heart (mean sign of its logits on them), and ADA's p",
                {"mean sign": "logits/real_sign", "p": "augmentation/p"},
            ),
            Curves("R² of Q on w (1 is perfect)", {"in the G step": "information/r2_g", "in the D step": "information/r2_d"}),
            Curves("Grouping loss (Eq. 2, mean squared error)", {"mean over layers": "loss/grouping_mse"}),
            Curves("Temperature t of the groups", {"layer": "groups/*/temperature"}),
            Curves("Groups that hold channels", {"layer": "groups/*/nonempty"}),
            Curves("R1 penalty", {"R1": "loss/r1"}, log_scale=True),
        ]
