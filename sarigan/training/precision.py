"""Device and precision of a run, resolved once from what the machine is good at."""

import time
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from sarigan import distributed
from sarigan.config import TrainingConfig
from sarigan.errors import InputError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

PRECISIONS = ("float32", "bfloat16", "float16", "float64")
# Of the loss in float16, a power of two: gradients near 1e-7 would be lost. It is constant; what overflows is skipped.
HALF_LOSS_SCALE = 256.0
# bfloat16 pays its casts back only when its convolutions are clearly faster.
WORTHWHILE_SPEEDUP = 1.3


@dataclass(frozen=True)
class Precision:
    """Where and in what a run computes."""

    device: torch.device
    name: str  # float32 | bfloat16 | float16 | float64

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Weights, optimiser state and inputs."""
        return torch.float64 if self.name == "float64" else torch.float32

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """Features under autocast; None: no autocast."""
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.name)

    @property
    def loss_scale(self) -> float:
        """Losses are multiplied and gradients divided by it."""
        return HALF_LOSS_SCALE if self.name == "float16" else 1.0

    def place(self, module: ModuleT) -> ModuleT:
        """The module on the device, in the parameters' type and in channels_last layout, which convolutions and FIR
        filters are fastest in (docs/benchmarks.md)."""
        return module.to(self.device, self.parameter_dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def resolve_precision(config: TrainingConfig, recorded: str | None = None) -> Precision:
    """Settle `auto` of training.device and training.precision; InputError when CUDA is asked for and absent.

    `recorded` is the precision a run that goes on was started with: `auto` keeps it.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if distributed.world_size() > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"training.device must be auto, cpu or cuda with several processes, got {name}")
        name = f"cuda:{distributed.local_rank()}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"training.device={config.device}: PyTorch sees no CUDA device; use auto or cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"training.device={config.device}: PyTorch sees {torch.cuda.device_count()} CUDA devices, from cuda:0")
    precision = config.precision
    if precision == "auto" and recorded is not None:
        precision = recorded
    elif precision == "auto":
        precision = "bfloat16" if device.type == "cpu" and bfloat16_speedup() > WORTHWHILE_SPEEDUP else "float32"
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cudnn.benchmark = True
    return Precision(device, precision)


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
