"""The state of a run at a step: its system and its position. Saving and restoring it is exact."""

import math
import platform
from typing import Any

import torch

from ops._extension import native_for
from sarigan import distributed
from sarigan.errors import InputError
from sarigan.training.augmentation.augmentation import Augmentation
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig


class TrainingState:
    """The system of a run and its counters. Every random draw follows from the seed and `step`."""

    def __init__(self, config: RunConfig, precision: Precision) -> None:
        self.config, self.precision = config, precision
        self.system = config.build(precision)
        training = config.training
        self.augmentation = Augmentation(training.augmentation, training.seed, training.batch_size, precision.device)
        self.num_threads = torch.get_num_threads()  # before processes share them
        self.step = 0
        self.seconds = 0.0
        self.num_rollbacks = 0  # each draws other latents from then on
        self.num_images: int | None = None  # of the data set: with the seed, it decides what image stands where
        self.data_key: str | None = None  # of the data set's content, on rank 0, which saves

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
            "platform": self._platform(),
            "step": self.step,
            "seconds": self.seconds,
            "num_rollbacks": self.num_rollbacks,
            "num_images": self.num_images,
            "data_key": self.data_key,
            **self.augmentation.state_dict(),
            **self.system.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> list[str]:
        """Restore; returns lines about what keeps the run from being bit-identical.

        InputError naming `source` when the checkpoint is of another architecture.
        """
        try:
            step, seconds, num_rollbacks = _position(state)
            there = dict(state["platform"])
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{source}: the checkpoint does not fit this configuration ({error})") from None
        self.system.load_state_dict(state, source)
        notes = self.augmentation.load_state_dict(state, source)
        self.step, self.seconds, self.num_rollbacks = step, seconds, num_rollbacks
        return notes + [
            f"{name} was {there[name]!r}, is {value!r}: the run goes on, but not bit-identically"
            for name, value in self._platform().items()
            if name in there and there[name] != value
        ]

    def _platform(self) -> dict[str, str | int]:
        shared = {"threads": self.num_threads, "cpu_processes": self.config.training.cpu_processes}
        return numeric_platform(self.precision) | shared


def _position(state: dict[str, Any]) -> tuple[int, float, int]:
    """Step, seconds and number of rollbacks; ValueError naming a value that is impossible."""
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
