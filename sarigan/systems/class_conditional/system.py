"""The BigGAN family (Brock et al. 2019): class-conditional batch normalisation in G, a projection in D, hinge loss."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.device import to_device
from sarigan.errors import InputError
from sarigan.layers.modulation.class_conditional_norm import average_running_statistics, batch_norms
from sarigan.layers.spectral_norm import update_spectral_norms
from sarigan.models.class_conditional_discriminator import ClassConditionalDiscriminator, ClassConditionalDiscriminatorConfig
from sarigan.models.class_conditional_generator import ClassConditionalGenerator, ClassConditionalGeneratorConfig
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed
from sarigan.systems.class_conditional.draws import ClassRandomness
from sarigan.systems.class_conditional.objective import ClassConditionalObjectiveConfig, HingeObjective
from sarigan.systems.system import Curves, Phase, System, count_parameters
from sarigan.training.optimizers import check_adam, lazy_adam
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig, with_classes_of_generator

TINY_RESOLUTION = 8


@dataclass(frozen=True)
class ClassConditionalOptimizerConfig:
    """Adam for the generator and the discriminator. Defaults are BigGAN's at 128 px."""

    generator_learning_rate: float = 1e-4  # of Adam
    discriminator_learning_rate: float = 4e-4  # of Adam
    beta1: float = 0.0  # of Adam
    beta2: float = 0.999  # of Adam
    epsilon: float = 1e-8  # of Adam

    def __post_init__(self) -> None:
        check_adam(self)


@dataclass(frozen=True)
class ClassConditionalConfig(RunConfig):
    """Everything that defines a run of a class-conditional generator."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    NOT_ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "generator.class_shares", "generator.standing_batches", "generator.standing_batch_size",
        "generator.initialization", "discriminator.initialization",
    )  # fmt: skip
    AUGMENTS: ClassVar[str] = "everything"

    system: str = "class_conditional"
    generator: ClassConditionalGeneratorConfig = field(default_factory=ClassConditionalGeneratorConfig)
    discriminator: ClassConditionalDiscriminatorConfig = field(default_factory=ClassConditionalDiscriminatorConfig)
    objective: ClassConditionalObjectiveConfig = field(default_factory=ClassConditionalObjectiveConfig)
    optimizer: ClassConditionalOptimizerConfig = field(default_factory=ClassConditionalOptimizerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.labels is None:
            raise InputError("data.labels must say what the classes of the images are for system: class_conditional, got null")
        if self.training.cpu_processes != 1:
            raise InputError(
                "training.cpu_processes must be 1 for system: class_conditional, whose batch statistics are of the whole batch,"
                f" got {self.training.cpu_processes}"
            )
        self.discriminator.blocks(self.resolution)

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    @property
    def class_names(self) -> list[str]:
        return self.generator.class_names

    def with_classes(self, shares: Mapping[str, float]) -> "ClassConditionalConfig":
        return with_classes_of_generator(self, shares)

    def build(self, precision: Precision) -> "ClassConditionalSystem":
        return ClassConditionalSystem(self, precision)

    def tiny(self) -> "ClassConditionalConfig":
        generator, discriminator = self.generator, self.discriminator
        return dataclasses.replace(
            self,
            generator=dataclasses.replace(
                generator, resolution=TINY_RESOLUTION, z_dim=8, channels=8, multipliers=[1, 1],
                class_dim=min(generator.class_dim, 8), attention_resolution=8 if generator.attention_resolution else 0,
                standing_batches=min(generator.standing_batches, 2), standing_batch_size=4,
            ),
            discriminator=dataclasses.replace(
                discriminator, channels=8, multipliers=[1, 1], downsamplings=1,
                attention_resolution=4 if discriminator.attention_resolution else 0,
            ),
            objective=dataclasses.replace(self.objective, discriminator_steps=1),
        )  # fmt: skip

    def averaged_generator(self, weights: Mapping[str, Any], device: str | torch.device) -> Generator | None:
        """From `ema_generator`."""
        return ClassConditionalGenerator.from_weights(self.generator, weights["ema_generator"], device)  # type: ignore[arg-type]

    def method(self) -> str:
        return "BigGAN"


class ClassConditionalAverage(ExponentialMovingAverage[ClassConditionalGenerator]):
    """Averages weights and running statistics; singular vectors are those of the averaged weights, by power iteration."""

    def __init__(self, source: ClassConditionalGenerator) -> None:
        super().__init__(source)
        self._source = source
        self.module.is_stale = True

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average <- decay * average + (1 - decay) * source, and one power iteration."""
        super().update(decay)
        average_running_statistics(self.module, self._source, decay)
        update_spectral_norms(self.module)
        self.module.is_stale = True


class ClassConditionalSystem(System):
    """Generator, discriminator, and the averaged generator.

    A step of training is one of D. G is trained in every `objective.discriminator_steps`-th step. Each step begins with one
    power iteration of all spectral norms.
    """

    def __init__(self, config: ClassConditionalConfig, precision: Precision) -> None:
        self.config, self.resolution = config, config.resolution
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = ClassConditionalGenerator(config.generator)
            discriminator = ClassConditionalDiscriminator(config.discriminator, config.resolution, len(config.class_names))
        self.generator, self.discriminator = precision.place(generator), precision.place(discriminator)
        self.average = ClassConditionalAverage(self.generator)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.replicas = dict(self.networks)
        self.averages = {"ema_generator": self.average}
        self.tensors: dict[str, Tensor] = {}
        self.objective = HingeObjective(
            config.objective, self.generator, self.discriminator, precision.autocast_dtype, self.replicas
        )
        self.randomness = ClassRandomness(
            config.training.seed, config.generator.z_dim, config.generator.class_shares, precision.device,
            precision.parameter_dtype,
        )  # fmt: skip
        optimizer = config.optimizer
        betas = (optimizer.beta1, optimizer.beta2)
        self.optimizers = {
            "generator_optimizer": lazy_adam(
                self.generator.parameters(), optimizer.generator_learning_rate, betas, optimizer.epsilon
            ),
            "discriminator_optimizer": lazy_adam(
                self.discriminator.parameters(), optimizer.discriminator_learning_rate, betas, optimizer.epsilon
            ),
        }
        batch_size, draw = config.training.batch_size, self.randomness.draw
        self.phases = [
            Phase(
                "discriminator", self.objective.discriminator_phase, "discriminator", list(self.discriminator.parameters()),
                self.optimizers["discriminator_optimizer"], batch_size=batch_size, draw=draw, needs_real_images=True,
                real_sign="logits/real_sign",
            ),
            Phase(
                "generator", self.objective.generator_phase, "generator", list(self.generator.parameters()),
                self.optimizers["generator_optimizer"], interval=config.objective.discriminator_steps,
                batch_size=batch_size, draw=draw,
            ),
        ]  # fmt: skip

    def begin_step(self, seen_kimg: float) -> None:
        """One power iteration for each spectral norm of G and D."""
        for network in self.networks.values():
            update_spectral_norms(network)

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        batch = super().example_batch(num_images, device, dtype)
        batch.labels = torch.zeros(num_images, dtype=torch.int64, device=device)
        return batch

    def prepare_to_save(self) -> None:
        """Set the averaged generator's statistics at test and centre of truncation."""
        if self.average.module.is_stale:
            self.average.module.refresh()

    @torch.no_grad()
    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        generator = self.average.module
        z = torch.randn(num_images, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
        (z,) = to_device([z], generator.mean_latent.device, generator.mean_latent.dtype)
        # Classes in turn, so that a grid shows them in columns wherever their number divides its width.
        labels = torch.arange(num_images, device=z.device) % len(self.config.class_names)
        for start in range(0, num_images, batch_size):
            part = slice(start, start + batch_size)
            yield generator(z[part], labels=labels[part]).images

    def describe(self) -> list[tuple[str, int, str]]:
        generator, config = self.generator, self.config.generator
        chunks = f", {config.chunk_dim} of them a layer" if config.hierarchical else ""
        rows = [
            ("generator", generator, ""),
            ("  mapping", generator.mapping, f"{len(config.class_names)} classes, z {config.z_dim}{chunks}"),
            ("  synthesis", generator.synthesis, f"{len(batch_norms(generator))} batch norms"),
            ("discriminator", self.discriminator, f"{self.resolution} px"),
        ]
        return [(name, count_parameters(module), text) for name, module, text in rows]

    def notes(self) -> list[str]:
        """A line where the classes are unknown, since the data are not there."""
        if self.config.class_names:
            return []
        return ["classes: unknown until the data are there; the counts of parameters are without embeddings of classes"]

    def evaluation_inputs(self) -> dict[str, Any]:
        return {"generator": self.average.module}

    def report_sections(self) -> list[Callable[[], Any]]:
        from sarigan.systems.class_conditional.report import sections  # seconds of imports that training does without

        return sections(self.average.module)

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Hinge losses", {"discriminator": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean logits of D", {"real": "logits/real", "generated": "logits/fake"}),
            Curves(
                "How far D knows the training images by heart (mean sign of its logits on them), and ADA's p",
                {"mean sign": "logits/real_sign", "p": "augmentation/p"},
            ),
            Curves("Orthogonal penalty of G's weights", {"penalty": "loss/orthogonal"}, log_scale=True),
        ]
