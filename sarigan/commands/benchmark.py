"""Measure speed (ops, step, saving, data, inference, metrics) or count work (scaling): prints a table, --json writes it.

A mode is a module with `add_arguments(parser)` and `run(options)`, which returns one flat record a measurement.
"""

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import ops.benchmark
import sarigan.diagnosis.data_benchmark
import sarigan.diagnosis.inference_benchmark
import sarigan.diagnosis.metrics_benchmark
import sarigan.diagnosis.saving_benchmark
import sarigan.diagnosis.scaling
import sarigan.diagnosis.step_benchmark
from sarigan.errors import exit_on_input_error

MODES = {
    "ops": ops.benchmark,
    "step": sarigan.diagnosis.step_benchmark,
    "saving": sarigan.diagnosis.saving_benchmark,
    "data": sarigan.diagnosis.data_benchmark,
    "inference": sarigan.diagnosis.inference_benchmark,
    "metrics": sarigan.diagnosis.metrics_benchmark,
    "scaling": sarigan.diagnosis.scaling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    for name, module in MODES.items():
        mode = modes.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        mode.add_argument("--json", type=Path, help="write the device, the command and the records to this file")
        module.add_arguments(mode)
    options = parser.parse_args()
    with exit_on_input_error():
        records = MODES[options.mode].run(options)
    print(describe_machine())
    print(table(records))
    if options.json:
        command = " ".join(["python", *sys.argv] if sys.argv[0].endswith(".py") else sys.argv)
        options.json.write_text(json.dumps({"machine": describe_machine(), "command": command, "records": records}, indent=1))


def describe_machine() -> str:
    """The device and the software, in one line."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return f"{device}; torch {torch.__version__}; {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


def table(records: list[dict[str, Any]]) -> str:
    """Records with the same keys as a Markdown table."""
    if not records:
        return "(nothing measured)"
    columns = list(records[0])
    rows = [["x".join(map(str, v)) if isinstance(v, list) else str(v) for v in r.values()] for r in records]
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
