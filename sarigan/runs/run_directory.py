"""What a run directory says about its run: config.yaml, environment.json, and the open log."""

import json
import platform
import sys
from pathlib import Path

import torch

from sarigan.config import Config
from sarigan.files.atomic_file import replace_text
from sarigan.files.checkpoint import list_checkpoints
from sarigan.files.reading import read_json_object
from sarigan.files.run_record import git_commit
from sarigan.training.hooks import RunLogger
from sarigan.training.precision import PRECISIONS
from sarigan.training.state import TrainingState, numeric_platform


def recorded_precision(run_dir: Path) -> str | None:
    """The precision that a run with checkpoints was started with, from its environment.json; None for a new run."""
    precision = read_json_object(run_dir / "environment.json").get("precision")
    known = isinstance(precision, str) and precision in PRECISIONS
    return precision if known and list_checkpoints(run_dir / "checkpoints") else None


def prepare_run_dir(config: Config, state: TrainingState, run_dir: Path) -> RunLogger:
    """Write the resolved configuration and the environment; open the log."""
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_text(run_dir / "config.yaml", config.to_yaml())
    environment = {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": git_commit(),
        **numeric_platform(state.precision),
        "cuda": torch.version.cuda,
    }
    replace_text(run_dir / "environment.json", json.dumps(environment, indent=2) + "\n")
    return RunLogger(run_dir, state.step)
