"""Everything a run is at a step: networks, averages, optimisers, position. Saving and restoring it is exact."""

import math
import platform
from typing import Any

import torch

from ops._extension import native_for
from sarigan import distributed
from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.files.weights import check_numbers, load_weights
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator
from sarigan.runs.compatibility import check_same_images, check_same_run, other_images
from sarigan.seeding import derive_seed
from sarigan.systems.style.objective import GanObjective, information_dim
from sarigan.training.ema import ExponentialMovingAverage
from sarigan.training.optimizers import lazy_adam, load_moments
from sarigan.training.precision import Precision


class TrainingState:
    """Networks, EMA, optimisers and counters of a run. Every random draw follows from the seed and `step`."""

    def __init__(self, config: Config, precision: Precision) -> None:
        self.config, self.precision = config, precision
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(config.training.seed, "weights"))
            generator = Generator(config.generator)
            discriminator = Discriminator(
                config.discriminator, config.generator.resolution, information_dim(config.objective, generator)
            )
        self.generator = precision.place(generator)
        self.discriminator = precision.place(discriminator)
        self.average = ExponentialMovingAverage(self.generator)
        self.objective = GanObjective(config.objective, self.generator, self.discriminator, precision.autocast_dtype)
        self.step = 0
        self.seconds = 0.0
        self.num_rollbacks = 0  # each draws other latents from then on
        self.num_images: int | None = None  # of the data set: with the seed, it decides what image stands where
        self.data_key: str | None = None  # of the data set's content, on rank 0, which saves

        grouping = {id(p) for p in self.generator.grouping_parameters()}
        self.generator_parameters = [p for p in self.generator.parameters() if id(p) not in grouping]
        self.grouping_parameters = self.generator.grouping_parameters()
        objective, optimizer = config.objective, config.optimizer
        self.generator_optimizer = lazy_adam(
            self.generator_parameters,
            optimizer.generator_learning_rate,
            optimizer,
            objective.path_length_interval if objective.path_length_weight else None,
        )
        self.discriminator_optimizer = lazy_adam(
            self.discriminator.parameters(),
            optimizer.discriminator_learning_rate,
            optimizer,
            objective.r1_interval if objective.r1_gamma else None,
        )
        self.grouping_optimizer = (
            lazy_adam(self.grouping_parameters, optimizer.grouping_learning_rate, optimizer, epsilon=optimizer.grouping_epsilon)
            if self.grouping_parameters
            else None
        )

    @property
    def seen_images(self) -> int:
        """Real images consumed so far, the sampler's position."""
        return self.step * self.config.training.batch_size

    @property
    def seen_kimg(self) -> float:
        """Thousands of real images consumed so far."""
        return self.seen_images / 1000

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings only, as `torch.load(weights_only=True)` wants."""
        return {
            "config": self.config.to_dict(),
            "platform": numeric_platform(self.precision),
            "step": self.step,
            "seconds": self.seconds,
            "num_rollbacks": self.num_rollbacks,
            "num_images": self.num_images,
            "data_key": self.data_key,
            "mean_path_length": self.objective.mean_path_length,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema_generator": self.average.module.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "grouping_optimizer": self.grouping_optimizer.state_dict() if self.grouping_optimizer else None,
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> list[str]:
        """Restore; returns lines about settings that changed and what else keeps the run from being bit-identical.

        Learning rates and the like are this configuration's. InputError naming `source` and the fields when the checkpoint
        is of another architecture, objective or data order.
        """
        notes = check_same_run(state["config"], self.config.to_dict(), source)
        check_same_images(state.get("num_images"), self.num_images, source)
        notes += other_images(state.get("data_key"), self.data_key)
        try:
            step, seconds, num_rollbacks = _position(state)
            check_numbers("mean_path_length", state["mean_path_length"], self.objective.mean_path_length)
            self.objective.mean_path_length.copy_(state["mean_path_length"])
            load_weights(self.generator, state["generator"])
            load_weights(self.discriminator, state["discriminator"])
            load_weights(self.average.module, state["ema_generator"])
            load_moments(self.generator_optimizer, state["generator_optimizer"])
            load_moments(self.discriminator_optimizer, state["discriminator_optimizer"])
            if self.grouping_optimizer:
                load_moments(self.grouping_optimizer, state["grouping_optimizer"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{source}: the checkpoint does not fit this configuration ({reason[:200]})") from None
        self.step, self.seconds, self.num_rollbacks = step, seconds, num_rollbacks
        here = numeric_platform(self.precision)
        there = state["platform"]
        return notes + [
            f"{name} was {there[name]!r}, is {value!r}: the run goes on, but not bit-identically"
            for name, value in here.items()
            if name in there and there[name] != value
        ]


def _position(state: dict[str, Any]) -> tuple[int, float, int]:
    """Step, seconds and number of rollbacks; ValueError naming what none can be."""
    step, seconds, num_rollbacks = state["step"], state["seconds"], state.get("num_rollbacks", 0)
    for name, count in (("step", step), ("num_rollbacks", num_rollbacks)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"{name} must be a whole number from 0, got {count!r}")
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be a number from 0, got {seconds!r}")
    return step, float(seconds), num_rollbacks


def numeric_platform(precision: Precision) -> dict[str, str | int]:
    """What the last bits of a result depend on."""
    device = precision.device
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "torch": str(torch.__version__),  # a str subclass, which weights_only=True refuses
        "device": device.type,
        "processor": processor,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": precision.name,
        "memory_format": precision.memory_format,
        "processes": distributed.world_size(),
        "operators": "reference" if native_for(torch.empty(0, device=device)) is None else "native",
    }
