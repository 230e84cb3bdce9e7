"""Inpainting in two stages without latents: CA (contextual attention) and AN (attentive normalisation), by configuration."""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from sarigan.data.masks import MaskConfig, MaskedDataConfig
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.seeding import derive_seed
from sarigan.systems.inpainting.completing_system import CompletingSystem
from sarigan.systems.inpainting.completion import HeldOutConfig
from sarigan.systems.inpainting.two_stage.critics import CRITICS, CriticConfig
from sarigan.systems.inpainting.two_stage.draws import TwoStageRandomness
from sarigan.systems.inpainting.two_stage.generator import TwoStageConfig, TwoStageGenerator
from sarigan.systems.inpainting.two_stage.objective import TwoStageObjective, TwoStageObjectiveConfig
from sarigan.systems.system import Curves, Phase, count_parameters
from sarigan.training.optimizers import check_adam
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig

TINY_RESOLUTION = 8
METHODS = {"contextual_attention": "CA", "attentive_normalization": "AN"}


@dataclass(frozen=True)
class TwoStageOptimizerConfig:
    """Adam for the generator and the critics. Defaults are those of CA."""

    generator_learning_rate: float = 1e-4  # of Adam
    discriminator_learning_rate: float = 1e-4  # of Adam
    beta1: float = 0.5  # of Adam
    beta2: float = 0.9  # of Adam
    epsilon: float = 1e-8  # of Adam

    def __post_init__(self) -> None:
        check_adam(self)


@dataclass(frozen=True)
class TwoStageInpaintingConfig(RunConfig):
    """Everything that defines a run of CA or AN."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("generator", "discriminator")

    system: str = "two_stage_inpainting"
    data: MaskedDataConfig = field(default_factory=lambda: MaskedDataConfig(mask=MaskConfig("box")))
    generator: TwoStageConfig = field(default_factory=TwoStageConfig)
    discriminator: CriticConfig = field(default_factory=CriticConfig)
    objective: TwoStageObjectiveConfig = field(default_factory=TwoStageObjectiveConfig)
    optimizer: TwoStageOptimizerConfig = field(default_factory=TwoStageOptimizerConfig)
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)

    @property
    def resolution(self) -> int:
        return self.generator.resolution

    def build(self, precision: Precision) -> "TwoStageInpaintingSystem":
        return TwoStageInpaintingSystem(self, precision)

    def tiny(self) -> "TwoStageInpaintingConfig":
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, mask=MaskConfig()),
            generator=dataclasses.replace(self.generator, resolution=TINY_RESOLUTION, width=4, num_regions=3),
            discriminator=dataclasses.replace(self.discriminator, width=4),
            objective=dataclasses.replace(self.objective, critic_steps=1),
            held_out=HeldOutConfig(),
        )

    def method(self) -> str:
        released = " as released" if self.generator.as_released else ""
        return f"inpainting by {METHODS[self.generator.refinement]}{released}"


class TwoStageInpaintingSystem(CompletingSystem):
    """Coarse and refining network, critics, the averaged generator. A step trains the critics, every fifth one G, too."""

    config: TwoStageInpaintingConfig
    average: ExponentialMovingAverage[TwoStageGenerator]

    def __init__(self, config: TwoStageInpaintingConfig, precision: Precision) -> None:
        self.config, self.resolution = config, config.resolution
        training, objective = config.training, config.objective
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(training.seed, "weights"))
            generator = TwoStageGenerator(config.generator)
            critics = CRITICS[config.discriminator.kind](config.resolution, config.discriminator.width)
        self.generator = precision.place(generator)
        self.discriminator = precision.place(critics)
        self.average = ExponentialMovingAverage(self.generator)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.replicas = dict(self.networks)
        self.averages = {"ema_generator": self.average}
        self.tensors = {}
        rates = config.optimizer
        self.optimizers = {
            "generator_optimizer": self._adam(self.generator, rates.generator_learning_rate),
            "discriminator_optimizer": self._adam(self.discriminator, rates.discriminator_learning_rate),
        }
        self.objective = TwoStageObjective(objective, self.networks, self.replicas, precision.autocast_dtype)
        self.randomness = TwoStageRandomness(
            training.seed, generator.num_positions, config.generator.as_released, precision.device, precision.parameter_dtype
        )
        losses = {"discriminator": self.objective.discriminator_phase, "generator": self.objective.generator_phase}
        self.phases = [
            Phase(
                name, loss, name, list(self.networks[name].parameters()), self.optimizers[f"{name}_optimizer"],
                interval=objective.critic_steps if name == "generator" else 1, batch_size=training.batch_size,
                draw=self.randomness.draw, needs_real_images=True,
            )
            for name, loss in losses.items()
        ]  # fmt: skip

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Optimizer:
        optimizer = self.config.optimizer
        betas = (optimizer.beta1, optimizer.beta2)
        return torch.optim.Adam(network.parameters(), rate, betas, optimizer.epsilon, fused=True)

    def describe(self) -> list[tuple[str, int, str]]:
        rows: list[tuple[str, nn.Module, str]] = [
            ("generator", self.generator, ""),
            ("  coarse", self.generator.coarse, ""),
            ("  refinement", self.generator.refinement, self.config.generator.refinement),
            ("discriminator", self.discriminator, f"{self.resolution} px"),
            *((f"  {name}", critic, "") for name, critic in self.discriminator.named_children()),
        ]
        return [(name, count_parameters(module), text) for name, module, text in rows]

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Wasserstein losses", {"critics": "loss/discriminator", "generator": "loss/generator"}),
            Curves("Mean values of the critics", {"real": "logits/real", "completed": "logits/fake"}),
            Curves("Gradient penalty, summed over the critics", {"penalty": "loss/gradient_penalty"}, log_scale=True),
            Curves("Mean absolute error in the hole (-1..1)", {"training batches": "loss/hole_l1"}),
            Curves(
                "Errors of both stages as they are weighted",
                {"in the hole": "loss/weighted_l1", "where known": "loss/known_l1"},
            ),
            Curves("Orthogonality loss of the regions", {"loss": "loss/orthogonality"}, log_scale=True),
        ]
