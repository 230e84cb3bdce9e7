"""Speed of a full training step against what the machine can do, measured in the same run.

The limit is the matrix product rate in the step's precision, taken on a 2048 x 2048 product between the timed steps; a
step's work is counted by PyTorch's own FLOP counter. Steps of two configurations alternate, so that their ratio holds on
a noisy machine.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sarigan.config import Config, load_config
from sarigan.diagnosis.scaling import FlopCount
from sarigan.training.cuda_graphs import WARM_UP
from sarigan.training.precision import Precision, resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

MATRIX_SIZE = 2048
MAIN_PHASES = ("discriminator", "generator")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `scripts/benchmark.py step`."""
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="one or more; their steps alternate")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each configuration")
    parser.add_argument("--regularizers", action="store_true", help="run R1 and path length in every timed step as well")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every configuration")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a configuration; times are medians in seconds."""
    steps = [StepTimer(load_config(path, options.overrides), path.stem, options.regularizers) for path in options.config]
    found = alternated([(step.once, step.precision) for step in steps], options.repeats)
    return [step.record(times, rates, found[0][0]) for step, (times, rates) in zip(steps, found, strict=True)]


def alternated(cases: Sequence[tuple[Callable[[], object], Precision]], repeats: int) -> list[tuple[list[float], list[float]]]:
    """Seconds of each case, and the rates of a matrix product before each; cases take turns after one untimed round."""
    products = [matrix_product(precision) for _, precision in cases]
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in cases]
    for repeat in range(repeats + 1):
        for (call, precision), product, (times, rates) in zip(cases, products, found, strict=True):
            rate = 2 * MATRIX_SIZE**3 / timed(product, precision.device)
            seconds = timed(call, precision.device)
            if repeat:  # the first warms up
                rates.append(rate)
                times.append(seconds)
    return found


def rate_record(flops: int, seconds: float, rate: float) -> dict[str, float]:
    """The achieved rate beside that of the matrix product."""
    return {
        "gflops": round(flops / seconds / 1e9, 1),
        "matrix_gflops": round(rate / 1e9, 1),
        "share_of_matrix_rate": round(flops / seconds / rate, 3),
    }


class StepTimer:
    """A training state whose steps run on one batch, without data loading, logging or checkpoints."""

    def __init__(self, config: Config, name: str, regularizers: bool) -> None:
        config, dataset = dataclasses.replace(config, data=dataclasses.replace(config.data, num_workers=0)).open_data()
        self.name, self.config = name, config
        self.precision = resolve_precision(config.training)
        self.trainer = Trainer(TrainingState(config, self.precision), dataset)
        batch = config.training.batch_size
        size = config.resolution
        images = torch.rand(batch, 3, size, size).mul(2).sub(1)
        placed = images.to(self.precision.device, self.precision.parameter_dtype, memory_format=self.precision.layout)
        self.batch = self.trainer.system.example_batch(batch, self.precision.device, self.precision.parameter_dtype)
        self.batch.images = placed
        self.phases = [
            (index, phase)
            for index, phase in enumerate(self.trainer.phases)
            if regularizers or phase.name in (*MAIN_PHASES, "grouping")
        ]
        self.flops = counted_flops(self.once)
        self.trainer.record_phases()
        for _ in range(WARM_UP + 1 if self.trainer.graphs else 0):
            self.once()

    def once(self) -> None:
        """Each phase once, and the averages."""
        for index, phase in self.phases:
            self.trainer.run_phase(index, phase, self.batch)
        for average in self.trainer.system.averages.values():
            average.update(0.999)

    def record(self, times: list[float], rates: list[float], reference: list[float]) -> dict[str, Any]:
        """Medians; `ratio` is this configuration's time over the first one's, pair by pair."""
        seconds, rate = statistics.median(times), statistics.median(rates)
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.precision.device.type == "cuda" else None
        return {
            "config": self.name,
            "precision": self.precision.name,
            "resolution": self.config.resolution,
            "batch": self.config.training.batch_size,
            "seconds": round(seconds, 4),
            "images_per_second": round(self.config.training.batch_size / seconds, 2),
            "tflop": round(self.flops / 1e12, 3),
            **rate_record(self.flops, seconds, rate),
            "ratio": round(statistics.median(a / b for a, b in zip(times, reference, strict=True)), 3),
            "peak_gib": None if peak is None else round(peak, 2),
        }


def counted_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of a call."""
    with FlopCount() as counter:
        call()
    return counter.total


def matrix_product(precision: Precision) -> Callable[[], object]:
    """A product of two square matrices in the type the step's convolutions use."""
    dtype = precision.autocast_dtype or precision.parameter_dtype
    a = torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=precision.device, dtype=dtype)
    return lambda: a @ a


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, including the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
