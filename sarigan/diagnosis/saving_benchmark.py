"""The cost of a checkpoint for the training: how long the saving step waits, and how long steps take during the writing.

Every repeat times steps alone, then the copy to host memory, then `CheckpointWriter.submit` (all that training waits for), then
steps until the file is on the disk.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sarigan.config import load_config
from sarigan.diagnosis.step_benchmark import StepTimer, timed
from sarigan.runs.checkpoint_hook import CheckpointWriter, checkpoint_bytes, to_host


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `scripts/benchmark.py saving`."""
    parser.add_argument("--config", type=Path, nargs="+", required=True)
    parser.add_argument("--repeats", type=int, default=5, help="checkpoints of each configuration")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every configuration")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a configuration; times are medians in seconds."""
    return [_measure(path, options) for path in options.config]


def _measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    step = StepTimer(load_config(path, options.overrides), path.stem, regularizers=False)
    state, device = step.trainer.state, step.precision.device
    alone, copies, stalls, writes, beside = [], [], [], [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        writer = CheckpointWriter(Path(folder), keep=1)
        step.once()
        for _ in range(options.repeats):
            alone += [timed(step.once, device) for _ in range(2)]
            copies.append(timed(lambda: to_host(state.state_dict()), device))
            begun = time.perf_counter()
            stalls.append(timed(lambda: writer.submit(state.state_dict()), device))
            beside.append(timed(step.once, device))
            while writer.busy:
                beside.append(timed(step.once, device))
            writer.wait()
            writes.append(time.perf_counter() - begun)
            state.step += 1
    return {
        "config": path.stem,
        "checkpoint_mb": round(checkpoint_bytes(state.state_dict()) / 1e6, 1),
        "copy_seconds": round(statistics.median(copies), 4),
        "stall_seconds": round(statistics.median(stalls), 4),
        "on_disk_after_at_most": round(statistics.median(writes), 3),  # a step that began meanwhile is counted in
        "step_seconds": round(statistics.median(alone), 4),
        "step_seconds_while_writing": round(statistics.median(beside), 4),
    }
