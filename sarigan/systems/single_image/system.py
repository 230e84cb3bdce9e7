"""A pyramid of generators and critics that learns from one picture (SinGAN), as a system of the trainer.

All networks are there from the first step. The pyramid grows by its phases: those of a scale are due in the steps that the plan
gives it. What a new scale takes over from the one before it is done at the beginning of its first step.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sarigan import distributed
from sarigan.data.loader import KeyedDataset
from sarigan.data.picture import Picture, PictureDataConfig
from sarigan.errors import InputError
from sarigan.seeding import derive_seed
from sarigan.systems.single_image.draws import PyramidDraws, PyramidRandomness, noise_maps
from sarigan.systems.single_image.generator import Critic, PyramidGenerator, ScaleNetworkConfig
from sarigan.systems.single_image.objective import SingleImageObjective, SingleImageObjectiveConfig
from sarigan.systems.single_image.plan import PlanConfig
from sarigan.systems.single_image.pyramid import PyramidConfig
from sarigan.systems.single_image.samples import random_noises
from sarigan.systems.system import Curves, Phase, System, count_parameters
from sarigan.training.config import TrainingConfig
from sarigan.training.optimizers import check_adam
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig


@dataclass(frozen=True)
class AdamConfig:
    """Adam of every generator and critic, new at every scale."""

    generator_rate: float = 5e-4  # learning rate
    critic_rate: float = 5e-4  # learning rate
    beta1: float = 0.5  # of Adam
    beta2: float = 0.999  # of Adam

    def __post_init__(self) -> None:
        check_adam(self)


@dataclass(frozen=True)
class SingleImageTrainingConfig(TrainingConfig):
    """One sample a step. `total_kimg` follows from the plan and the number of scales."""

    batch_size: int = 1
    precision: str = "float32"
    num_samples: int = 9
    tick_kimg: float = 0.1
    sample_kimg: float = 1.0
    checkpoint_kimg: float = 0.5


@dataclass(frozen=True)
class SingleImageConfig(RunConfig):
    """Everything that defines a run on one picture."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "pyramid", "networks", "data.sha256", "plan.iterations", "plan.joint_scales", "plan.critic_steps",
        "plan.generator_steps",
    )  # fmt: skip

    system: str = "single_image"
    data: PictureDataConfig = field(default_factory=PictureDataConfig)
    training: SingleImageTrainingConfig = field(default_factory=SingleImageTrainingConfig)
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    networks: ScaleNetworkConfig = field(default_factory=ScaleNetworkConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    objective: SingleImageObjectiveConfig = field(default_factory=SingleImageObjectiveConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.precision not in ("float32", "float64"):
            raise InputError(
                "training.precision must be float32 or float64 for one picture, since the penalty is a derivative of a"
                f" derivative, got {self.training.precision!r}"
            )
        if self.training.init_from is not None:
            raise InputError(
                "training.init_from must be null: the model of another picture holds that picture, got"
                f" {self.training.init_from!r}"
            )
        field_of_view = 2 * self.networks.num_layers + 1
        if self.pyramid.min_size < field_of_view:
            raise InputError(
                f"pyramid.min_size must be at least {field_of_view}, what a network of networks.num_layers="
                f"{self.networks.num_layers} sees, got {self.pyramid.min_size}"
            )
        if self.metrics.names:
            raise InputError(
                f"metrics.names must be empty (`single_image sample --score` judges one picture), got {self.metrics.names}"
            )

    @property
    def resolution(self) -> int:
        return max(self.pyramid.finest(self.pyramid.height, self.pyramid.width))

    @property
    def image_size(self) -> tuple[int, int]:
        """Of the picture at the finest scale."""
        return self.pyramid.finest(self.pyramid.height, self.pyramid.width)

    @property
    def shard_multiple(self) -> int:
        return self.training.batch_size  # batch normalisation sees all of it

    def open_data(self) -> tuple["SingleImageConfig", KeyedDataset]:
        """The picture, and the configuration with its size, its hash and the length of the run."""
        if distributed.world_size() > 1:
            raise InputError(f"one picture is trained by one process, got {distributed.world_size()}")
        if self.data.path is None:
            raise InputError("data.path must be a picture file, got nothing")
        try:
            picture = Picture(self.data.path, self.pyramid.finest)
        except InputError as error:
            raise error if self.data.path in str(error) else InputError(f"{self.data.path}: {error}") from None
        height, width = picture.file_size
        pyramid = dataclasses.replace(self.pyramid, height=height, width=width)
        kimg = thousands(len(pyramid.sizes()) * self.plan.iterations * self.training.batch_size)
        filled = dataclasses.replace(
            self,
            pyramid=pyramid,
            data=dataclasses.replace(self.data, sha256=picture.content_key),
            training=dataclasses.replace(self.training, total_kimg=kimg),
        )
        return filled, picture

    def build(self, precision: Precision) -> "SingleImageSystem":
        return SingleImageSystem(self if self.pyramid.height else self.open_data()[0], precision)

    def tiny(self) -> "SingleImageConfig":
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, sha256=""),
            pyramid=PyramidConfig(min_size=5, num_scales=2, height=8, width=8),
            networks=dataclasses.replace(self.networks, channels=4, num_layers=2),
            plan=dataclasses.replace(self.plan, iterations=1),
        )

    def method(self) -> str:
        joint = self.plan.joint_scales
        return "one picture, " + ("one scale after the other" if joint == 1 else f"{joint} scales together")


def thousands(count: int) -> float:
    """A number whose thousandfold, rounded up, is `count`."""
    share = count / 1000
    return share if math.ceil(share * 1000) <= count else math.nextafter(share, 0.0)


class SingleImageSystem(System):
    """Generators and critics of all scales, with an optimiser each."""

    def __init__(self, config: SingleImageConfig, precision: Precision) -> None:
        self.config, self.resolution = config, config.resolution
        sizes, num_scales = config.pyramid.sizes(), len(config.pyramid.sizes())
        random = torch.Generator().manual_seed(derive_seed(config.training.seed, "fixed noise"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = PyramidGenerator(config.networks, sizes, picture_of(config))
            critics = nn.ModuleList(Critic(config.networks, level) for level in range(num_scales))
        generator.fixed_noise.copy_(noise_maps([generator.noise_size(sizes[0])], random)[0])
        self.generator, self.critics = precision.place(generator), precision.place(critics)
        self.networks = {"generators": self.generator, "critics": self.critics}
        self.replicas = dict(self.networks)
        self.averages, self.tensors = {}, {}
        self.objective = SingleImageObjective(config.objective, self.generator, self.critics)
        noise_sizes = [generator.noise_size(size) for size in sizes]
        self.randomness = PyramidRandomness(config.training.seed, noise_sizes, precision.device, precision.parameter_dtype)
        self.optimizers = self._build_optimizers()
        self.phases = [phase for level in range(num_scales) for phase in self._phases_of(level)]

    def _build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        adam, plan = self.config.optimizer, self.config.plan
        settings: dict[str, Any] = {"betas": (adam.beta1, adam.beta2), "fused": True}
        optimizers: dict[str, torch.optim.Optimizer] = {}
        for level, critic in enumerate(self.critics):
            groups = [
                {
                    "params": list(self.generator.levels[trained].parameters()),
                    "lr": adam.generator_rate * plan.rate_factor ** (level - trained),
                }
                for trained in plan.trained(level)
            ]
            optimizers[f"generator_optimizer_{level}"] = torch.optim.Adam(groups, **settings)
            optimizers[f"critic_optimizer_{level}"] = torch.optim.Adam(critic.parameters(), lr=adam.critic_rate, **settings)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["full_rate"] = group["lr"]
        return optimizers

    def _phases_of(self, level: int) -> Iterator[Phase]:
        plan, last = self.config.plan, len(self.generator.sizes) - 1
        until = (level + 1) * plan.iterations if level < last else None
        kinds = [("critic", "critics", plan.critic_steps, self.objective.critic_phase),
                 ("generator", "generators", plan.generator_steps, self.objective.generator_phase)]  # fmt: skip
        for kind, network, count, loss in kinds:
            optimizer = self.optimizers[f"{kind}_optimizer_{level}"]
            for number in range(count):
                yield Phase(
                    f"{kind} {number} of scale {level}", functools.partial(loss, level, plan.trained(level)), network,
                    [parameter for group in optimizer.param_groups for parameter in group["params"]], optimizer,
                    from_step=level * plan.iterations, until_step=until, batch_size=self.config.training.batch_size,
                    draw=functools.partial(self._draw, level),
                )  # fmt: skip

    def _draw(self, level: int, phase: str, step: int, batch_size: int, attempt: int) -> PyramidDraws:
        return self.randomness.draw(level, phase, step, batch_size, attempt)

    def begin_step(self, seen_kimg: float) -> None:
        plan = self.config.plan
        step = round(seen_kimg * 1000 / self.config.training.batch_size)
        level = plan.scale_of(step, len(self.generator.sizes))
        if step == level * plan.iterations:
            self._begin_scale(level)
        self.generator.train_only(plan.trained(level))
        for name, optimizer in self.optimizers.items():  # also of other scales: a rate is a function of the step alone
            for group in optimizer.param_groups:
                group["lr"] = group["full_rate"] * plan.decay(step, int(name.rpartition("_")[2]))

    def _begin_scale(self, level: int) -> None:
        """Weights of the scale before, where the widths agree; the amplitude of the noise; the old optimisers are emptied."""
        self.objective.forget()
        self.generator.num_begun.fill_(level + 1)
        if level == 0:
            return
        widths = self.config.networks.width
        if widths(level) == widths(level - 1):
            for networks in (self.generator.levels, self.critics):
                networks[level].load_state_dict(networks[level - 1].state_dict())
        self.generator.amplitudes[level] = self.objective.amplitude(level)
        for kind in ("generator", "critic"):
            self.optimizers[f"{kind}_optimizer_{level - 1}"].state.clear()

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """As `System.load_state_dict`."""
        super().load_state_dict(state, source)
        self.objective.forget()

    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """The reconstruction of the scale that is trained, then random samples of it."""
        yield self.generator.reconstruction(int(self.generator.num_begun) - 1)
        for seed in range(num_images - 1):
            yield self.generator.evaluated(random_noises(self.generator, seed))

    def log_values(self, means: dict[str, float]) -> dict[str, float]:
        level = int(self.generator.num_begun) - 1
        return means | {"pyramid/scale": float(level), "pyramid/noise_amplitude": float(self.generator.amplitudes[level])}

    def describe(self) -> list[tuple[str, int, str]]:
        rows = []
        for level, (height, width) in enumerate(self.generator.sizes):
            text = f"{width}x{height} px, {self.config.networks.width(level)} channels"
            rows.append((f"generator of scale {level}", count_parameters(self.generator.levels[level]), text))
            rows.append((f"critic of scale {level}", count_parameters(self.critics[level]), ""))
        return rows

    def notes(self) -> list[str]:
        sizes = ", ".join(f"{width}x{height}" for height, width in self.generator.sizes)
        return [f"{len(self.generator.sizes)} scales: {sizes}; {self.config.plan.iterations} steps each"]

    def evaluation_inputs(self) -> dict[str, Any]:
        raise InputError(
            "a model of one picture has no set of images to be compared with; `single_image sample --score` gives its distance"
            " to the picture"
        )

    def report_curves(self) -> list[Curves]:
        return [
            Curves("Scale that is trained", {"scale": "pyramid/scale"}),
            Curves("Wasserstein losses", {"critic": "loss/critic", "generator": "loss/generator"}),
            Curves("Mean squared error of the reconstruction", {"error": "loss/reconstruction"}, log_scale=True),
            Curves("Gradient penalty", {"penalty": "loss/penalty"}, log_scale=True),
        ]


def picture_of(config: SingleImageConfig) -> Tensor:
    """The picture [1,3,H,W] in -1..1. Random numbers where its file is not there or another one: a checkpoint has its own."""
    if config.data.path is not None and config.data.sha256:
        with suppress(InputError):
            picture = Picture(config.data.path, config.pyramid.finest)
            if picture.content_key == config.data.sha256:
                return torch.from_numpy(picture.pixels)[None] / 127.5 - 1
    random = torch.Generator().manual_seed(derive_seed(config.training.seed, "no picture"))
    return torch.rand(1, 3, *config.image_size, generator=random) * 2 - 1
