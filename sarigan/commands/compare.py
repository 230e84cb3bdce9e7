"""Compare runs on one HTML page: sarigan compare runs/a runs/b [runs/c ...] (docs/evaluation.md).

Configuration differences, curves, metrics with their spread, and the first samples. Writes out/comparison.html.
"""

import argparse
import logging
from pathlib import Path

from sarigan.device import resolve_device
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.checkpoint import list_checkpoints
from sarigan.files.paths import output_file, replace_text
from sarigan.files.run_record import read_run
from sarigan.pretrained import load_system, require_run
from sarigan.visualization.report.comparison import ComparedRun, comparison_page, doubts, first_samples

NUM_SAMPLES = 8
log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare runs on one HTML page.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, two at least")
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="one a run (default: the directories' names)")
    parser.add_argument(
        "--output", type=Path, default=Path("out/comparison.html"), metavar="FILE.html", help="default out/comparison.html"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    with exit_on_input_error():
        labels = options.labels or [run.resolve().name for run in options.runs]
        if len(options.runs) < 2 or len(set(map(Path.resolve, options.runs))) < len(options.runs):
            raise InputError(f"compare needs two different run directories at least, got {', '.join(map(str, options.runs))}")
        if len(set(labels)) != len(options.runs):
            raise InputError(f"--labels must be {len(options.runs)} different texts, one a run, got {', '.join(labels)}")
        runs = [open_run(label, run, options.device) for label, run in zip(labels, options.runs, strict=True)]
        for doubt in doubts(runs):
            log.warning(f"warning: {doubt}")
        with output_file(options.output):
            replace_text(options.output, comparison_page(runs))
    print(f"comparison: {options.output.resolve().as_uri()}")


def open_run(label: str, folder: Path, device: str) -> ComparedRun:
    """What its files tell, and the first samples of its newest checkpoint where it has one."""
    require_run(folder)
    record = read_run(folder)
    if not list_checkpoints(folder / "checkpoints"):
        return ComparedRun(label, record, record.config.get("system", "style"), None)
    system, config = load_system(folder, resolve_device(device, "--device"))
    return ComparedRun(label, record, config.method(), first_samples(system, NUM_SAMPLES))
