"""Every metric that can be asked for by name, and `evaluate`, which computes those asked for and reports them.

A report is a table for a person and JSON with all that a reader needs to repeat the numbers.
"""

import datetime
import difflib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.files.paths import replace_text
from sarigan.files.run_record import git_commit
from sarigan.metrics.class_control import ClassControl
from sarigan.metrics.class_distance import ClassFrechetDistance, ClassKernelDistance, ClassPrecisionRecall
from sarigan.metrics.classification_accuracy import ClassificationAccuracy
from sarigan.metrics.density_coverage import DensityCoverage
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.frechet import FrechetDistance
from sarigan.metrics.groups.metric import GroupQuality
from sarigan.metrics.inception_score import InceptionScore
from sarigan.metrics.information import CodeInformation
from sarigan.metrics.kid import KernelDistance
from sarigan.metrics.layout_fidelity import LayoutFidelity, StyleDiversity, StyleTransfer
from sarigan.metrics.linear_separability import LinearSeparability
from sarigan.metrics.perceptual_path_length import PerceptualPathLength
from sarigan.metrics.precision_recall import PrecisionRecall
from sarigan.metrics.sliced_wasserstein import SlicedWasserstein

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        FrechetDistance("fid", "inception", "Frechet distance of Inception features"),
        KernelDistance("kid", "inception", "kernel distance of Inception features"),
        InceptionScore("inception_score", "inception", "Inception score"),
        PrecisionRecall("precision_recall", "", "improved precision and recall, in VGG16 where its weights are"),
        FrechetDistance("fd_efficientnet", "efficientnet", "Frechet distance of EfficientNet features"),
        KernelDistance("kid_efficientnet", "efficientnet", "kernel distance of EfficientNet features"),
        InceptionScore("classifier_score_efficientnet", "efficientnet", "Inception score's formula with EfficientNet"),
        PrecisionRecall("precision_recall_efficientnet", "efficientnet", "precision and recall of EfficientNet features"),
        DensityCoverage("density_coverage", "", "density and coverage, in VGG16 where its weights are"),
        DensityCoverage("density_coverage_efficientnet", "efficientnet", "density and coverage of EfficientNet features"),
        SlicedWasserstein("sliced_wasserstein", "inception", "sliced Wasserstein distance of Inception features"),
        SlicedWasserstein("sliced_wasserstein_efficientnet", "efficientnet", "the same of EfficientNet features"),
        FrechetDistance("fd_dinov2", "dinov2", "Frechet distance of DINOv2 features"),
        KernelDistance("kid_dinov2", "dinov2", "kernel distance of DINOv2 features"),
        PrecisionRecall("precision_recall_dinov2", "dinov2", "precision and recall of DINOv2 features"),
        DensityCoverage("density_coverage_dinov2", "dinov2", "density and coverage of DINOv2 features"),
        SlicedWasserstein("sliced_wasserstein_dinov2", "dinov2", "sliced Wasserstein distance of DINOv2 features"),
        PerceptualPathLength(),
        LinearSeparability(),
        CodeInformation(),
        GroupQuality(),
        ClassFrechetDistance("class_fid", "inception", "mean over classes of the Frechet distance, Inception's features"),
        ClassFrechetDistance("class_fd_efficientnet", "efficientnet", "mean over classes, EfficientNet's features"),
        ClassKernelDistance("class_kid", "inception", "mean over classes of the kernel distance, Inception's features"),
        ClassKernelDistance("class_kid_efficientnet", "efficientnet", "mean over classes, EfficientNet's features"),
        ClassPrecisionRecall("class_precision_recall", "", "means over classes, in VGG16 where its weights are"),
        ClassPrecisionRecall("class_precision_recall_efficientnet", "efficientnet", "means over classes, EfficientNet"),
        ClassificationAccuracy(),
        ClassControl(),
        LayoutFidelity(),
        StyleDiversity(),
        StyleTransfer(),
    )
}


def metrics_named(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names in their order; InputError for an unknown one."""
    for name in names:
        if name not in METRICS:
            nearest = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(METRICS)}"
            raise InputError(f"metrics: there is no {name!r}; {hint}")
    return [METRICS[name] for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Report:
    """Results, and what they have in common. The report of an unfinished evaluation says which metrics are missing."""

    results: list[Result]
    context: dict[str, Any]
    failure: str | None = None  # the metric that ended the evaluation, and why
    missing: Sequence[str] = ()  # metrics that were asked for and have no results

    def values(self) -> dict[str, float]:
        """Value by name."""
        return {result.name: result.value for result in self.results}

    def to_dict(self) -> dict[str, Any]:
        """JSON values: a list of results, each complete in itself; `failure` and `missing` of an unfinished evaluation."""
        found: dict[str, Any] = {"results": [{**asdict(result), **self.context} for result in self.results]}
        if self.failure is not None:
            found["failure"] = self.failure
        if self.missing:
            found["missing"] = list(self.missing)
        return found

    def table(self) -> str:
        """A table for a person."""
        rows = [("metric", "value", "spread", "chance", "protocol")]
        for r in self.results:
            spread, null = "" if r.spread is None else f"{r.spread:.3g}", "" if r.null is None else _beside(r.value, r.null)
            rows.append((r.name, f"{r.value:.6g}", spread, null, r.protocol))
        columns = [0, 1, 2, *([3] if any(row[3] for row in rows[1:]) else []), 4]
        widths = [max(len(row[column]) for row in rows) for column in range(4)] + [0]
        lines = ["  ".join(row[column].ljust(widths[column]) for column in columns) for row in rows]
        if self.failure is not None:
            lines.append(f"failed: {self.failure}")
        if self.missing:
            lines.append(f"not computed: {', '.join(self.missing)}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all; InputError when that fails."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(self.to_dict(), indent=1) + "\n")
        except OSError as error:
            raise InputError(f"{path}: cannot write the results ({error.strerror})") from None


def evaluate(evaluation: Evaluation, names: Sequence[str], keep: Callable[[Report], None] = lambda report: None) -> Report:
    """Compute the named metrics; on every process of a group, which all return the same.

    Names, weights and numbers of images are checked before any work (InputError). `keep` receives the finished results
    after each metric but the last, and before the exception of a metric that fails after others.
    """
    start = time.perf_counter()
    with distributed.raise_on_all_ranks():
        metrics = metrics_named(names)
        for metric in metrics:
            if metric.needs_generator and evaluation.generator is None:
                raise InputError(f"{metric.name} needs a generator (--checkpoint), got a set of images")
            if metric.needs_data and evaluation.data is None:
                raise InputError(f"{metric.name} needs a data set to compare with (--data)")
            metric.check(evaluation)
    # TF32 has 10 bits: a path length, a difference of two images over 1e-8, would be the rounding's.
    with full_precision(evaluation.device):
        _ = evaluation.data_hash  # reads every image of a folder: a damaged one costs no finished metric here
        evaluation.gather([request for metric in metrics for request in metric.requests(evaluation)])
        results: list[Result] = []
        for index, metric in enumerate(metrics):
            missing = [other.name for other in metrics[index:]]
            try:
                for result in metric.compute(evaluation):
                    results.append(result)
            except BaseException as error:  # Ctrl-C, too, leaves what is finished
                if results:
                    failure = f"{metric.name} ({_line(error)})"
                    keep(Report(results, _context(evaluation, start), failure, missing))
                raise
            if missing[1:]:
                keep(Report(list(results), _context(evaluation, start), missing=missing[1:]))
    return Report(results, _context(evaluation, start))


def _beside(value: float, chance: float) -> str:
    """Chance in the digits of the value, three of the larger: beside 0.0762, a chance of -3.8e-05 is 0."""
    largest = max(abs(value), abs(chance))
    digits = 2 - math.floor(math.log10(largest)) if 0 < largest < math.inf else 3
    return f"{round(chance, digits) + 0.0:.3g}"  # + 0.0: no -0


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, InputError) else ": ".join([type(error).__name__, *([text] if text else [])])


def _context(evaluation: Evaluation, start: float) -> dict[str, Any]:
    config = evaluation.config
    return {
        "images": evaluation.generated_images.title,
        "data": None if evaluation.data is None else evaluation.real_images.title,
        "data_hash": evaluation.data_hash,
        "num_images": len(evaluation.generated_images),
        "num_real_images": None if evaluation.data is None else len(evaluation.real_images),
        "preprocessing": evaluation.preprocessing.name,
        "truncation_psi": config.truncation_psi if evaluation.generator is not None else None,
        "seed": config.seed,
        "seen_kimg": evaluation.seen_kimg,
        "code_version": git_commit(),
        "torch": torch.__version__,
        "device": device_name(evaluation.device),
        "num_processes": distributed.world_size(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 2),
    }


def device_name(device: torch.device) -> str:
    """The name of the device, for the report."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """float32 arithmetic in float32 while the block runs, whatever training chose: no TF32, bfloat16 products or autocast."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
