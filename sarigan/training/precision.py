"""Device and precision of a run, resolved once from what the machine is good at."""

import time
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from sarigan.device import resolve_device
from sarigan.training.config import TrainingConfig

ModuleT = TypeVar("ModuleT", bound=nn.Module)

PRECISIONS = ("float32", "bfloat16", "float16", "float64")
# Of the loss in float16, a power of two: gradients near 1e-7 would be lost. It is constant; what overflows is skipped.
HALF_LOSS_SCALE = 256.0
# bfloat16 pays its casts back only when its convolutions are clearly faster.
WORTHWHILE_SPEEDUP = 1.3


@dataclass(frozen=True)
class Precision:
    """Device, number format and memory layout of a run."""

    device: torch.device
    name: str  # float32 | bfloat16 | float16 | float64
    memory_format: str = "channels_last"  # channels_last | contiguous

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The type of weights, optimiser state and inputs."""
        return torch.float64 if self.name == "float64" else torch.float32

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type of features under autocast; None: no autocast."""
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.name)

    @property
    def loss_scale(self) -> float:
        """The factor by which losses are multiplied and gradients divided."""
        return HALF_LOSS_SCALE if self.name == "float16" else 1.0

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of images, features and kernels."""
        return torch.contiguous_format if self.memory_format == "contiguous" else torch.channels_last

    def place(self, module: ModuleT) -> ModuleT:
        """The module on the device, in the parameters' type and in the layout."""
        return module.to(self.device, self.parameter_dtype).to(memory_format=self.layout)  # type: ignore[call-overload]


def resolve_precision(config: TrainingConfig, recorded: str | None = None) -> Precision:
    """Resolve `auto` in training.device, precision and memory_format; InputError when CUDA is asked for and absent.

    `recorded` is the precision a run that goes on was started with: `auto` keeps it.
    """
    device = resolve_device(config.device, "training.device")
    precision = config.precision
    if precision == "auto" and recorded is not None:
        precision = recorded
    elif precision == "auto":
        precision = "bfloat16" if device.type == "cpu" and bfloat16_speedup() > WORTHWHILE_SPEEDUP else "float32"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = True
    memory_format = config.memory_format
    if memory_format == "auto":
        memory_format = best_memory_format(device, precision, config.tf32)
    return Precision(device, precision, memory_format)


def best_memory_format(device: torch.device, precision: str, tf32: bool) -> str:
    """channels_last on a CPU, and for tensor cores, which compute in it (figures: docs/benchmarks.md).

    float32 and float64 without them are contiguous on CUDA, as cuDNN's kernels for them are.
    """
    on_tensor_cores = precision in ("bfloat16", "float16") or (precision == "float32" and tf32)
    return "channels_last" if device.type == "cpu" or on_tensor_cores else "contiguous"


def bfloat16_speedup() -> float:
    """Time of a small float32 convolution over its time in bfloat16, on this CPU."""
    return _convolution_time(torch.float32) / _convolution_time(torch.bfloat16)


def _convolution_time(dtype: torch.dtype, repeats: int = 5) -> float:
    x = torch.ones(4, 64, 16, 16, dtype=dtype)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        times.append(time.perf_counter() - start)
    return min(times)
