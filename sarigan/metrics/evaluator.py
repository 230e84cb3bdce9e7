"""Run metrics and report them: as a table for a person, as JSON with all that a reader needs to repeat them."""

import datetime
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sarigan import distributed
from sarigan.code_version import git_commit
from sarigan.errors import InputError
from sarigan.metrics.catalogue import metrics_named
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.metric import Result


@dataclass(frozen=True)
class Report:
    """Results, and what they have in common."""

    results: list[Result]
    context: dict[str, Any]

    def values(self) -> dict[str, float]:
        """Value by name."""
        return {result.name: result.value for result in self.results}

    def to_dict(self) -> dict[str, Any]:
        """JSON values: a list of results, each complete in itself."""
        return {"results": [{**asdict(result), **self.context} for result in self.results]}

    def table(self) -> str:
        """For a person."""
        rows = [("metric", "value", "spread", "protocol")]
        for r in self.results:
            rows.append((r.name, f"{r.value:.6g}", "" if r.spread is None else f"{r.spread:.3g}", r.protocol))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all; InputError when that fails."""
        partial = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
            os.replace(partial, path)
        except OSError as error:
            raise InputError(f"{path}: cannot write the results ({error.strerror})") from None


def evaluate(evaluation: Evaluation, names: Sequence[str]) -> Report:
    """Compute the named metrics; on every process of a group, which all return the same.

    Whatever can be known to fail (a name, missing weights, too few images) does so before any work, as InputError.
    """
    start = time.perf_counter()
    with distributed.in_unison():
        metrics = metrics_named(names)
        for metric in metrics:
            if metric.needs_generator and evaluation.generator is None:
                raise InputError(f"{metric.name} needs a generator (--checkpoint), got a set of images")
            if metric.needs_data and evaluation.data is None:
                raise InputError(f"{metric.name} needs a data set to compare with (--data)")
            metric.check(evaluation)
    evaluation.gather([request for metric in metrics for request in metric.requests(evaluation)])
    results = [result for metric in metrics for result in metric.compute(evaluation)]
    config = evaluation.config
    context = {
        "images": evaluation.generated_images.title,
        "data": None if evaluation.data is None else evaluation.real_images.title,
        "data_hash": evaluation.data_hash,
        "num_images": len(evaluation.generated_images),
        "num_real_images": None if evaluation.data is None else len(evaluation.real_images),
        "preprocessing": evaluation.preprocessing.name,
        "truncation_psi": config.truncation_psi if evaluation.generator is not None else None,
        "seed": config.seed,
        "code_version": git_commit(),
        "torch": torch.__version__,
        "device": device_name(evaluation.device),
        "num_processes": distributed.world_size(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 2),
    }
    return Report(results, context)


def device_name(device: torch.device) -> str:
    """What computed, for the report."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
