"""Speed of image generation beside the machine's limit, measured in the same run: latency of an image, rate of batches.

The limit is the matrix product rate in the precision of the convolutions, the work is counted by PyTorch's own FLOP counter.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

from ops.host_memory import keep_freed_memory
from sarigan.config import load_config
from sarigan.diagnosis.step_benchmark import alternated, counted_flops, rate_record
from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.pretrained import require_style
from sarigan.training.precision import Precision, resolve_precision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `scripts/benchmark.py inference`."""
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="one or more; their batches alternate")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images at once (default 1 and 8)")
    parser.add_argument("--repeats", type=int, default=7, help="timed batches of each kind")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every configuration")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a configuration and batch size; times are medians. InputError for a batch of no images."""
    if min(options.batch) < 1:
        raise InputError(f"--batch must be at least 1, got {min(options.batch)}")
    keep_freed_memory()
    cases = []
    for path in options.config:
        config = require_style(load_config(path, options.overrides), path)
        precision = resolve_precision(config.training)
        generator = precision.place(Generator(config.generator)).eval().requires_grad_(False)
        cases += [ImageMaking(path.stem, generator, precision, batch) for batch in options.batch]
    found = alternated([(case, case.precision) for case in cases], options.repeats)
    return [
        _record(case, statistics.median(times), statistics.median(rates))
        for case, (times, rates) in zip(cases, found, strict=True)
    ]


class ImageMaking:
    """Batches of one size from one generator; a call makes a batch."""

    def __init__(self, name: str, generator: Generator, precision: Precision, batch: int) -> None:
        self.name, self.generator, self.precision, self.batch = name, generator, precision, batch
        self.z = torch.randn(batch, generator.config.z_dim).to(precision.device, precision.parameter_dtype)
        self.flops = counted_flops(self)

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        """[N,3,R,R]."""
        dtype = self.precision.autocast_dtype
        with torch.autocast(self.precision.device.type, dtype=dtype, enabled=dtype is not None):
            return self.generator(self.z).images


def _record(case: ImageMaking, seconds: float, rate: float) -> dict[str, Any]:
    return {
        "config": case.name,
        "precision": case.precision.name,
        "resolution": case.generator.config.resolution,
        "batch": case.batch,
        "milliseconds": round(1000 * seconds, 2),
        "images_per_second": round(case.batch / seconds, 2),
        "gflop": round(case.flops / 1e9, 2),
        **rate_record(case.flops, seconds, rate),
    }
