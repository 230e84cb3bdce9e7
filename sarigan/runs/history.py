"""Every start of a run, so that no start erases what an earlier one said of itself.

<run>/config.yaml and environment.json are those of the newest start. <run>/history.jsonl has a line for every start and for
every end; <run>/history/ keeps config.yaml and environment.json of earlier starts, by the number of the start.
"""

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.files.paths import replace_text
from sarigan.files.reading import read_yaml_text
from sarigan.files.run_record import CONFIG_NAME, HISTORY_NAME, git_commit, read_starts
from sarigan.runs.resume import differing_fields
from sarigan.training.state import TrainingState, numeric_platform

KEPT = (CONFIG_NAME, "environment.json")
NAMED = ("command", "commit", "device", "processor", "precision", "processes", "operators")  # of it, in every line


def record_start(config: Config, state: TrainingState, data: str, run_dir: Path) -> None:
    """Keep what the last start wrote, then write configuration, environment, and a line of the history. For rank 0.

    data: the data set in one line.
    """
    number = len(read_starts(run_dir / HISTORY_NAME)) + 1
    before = _settings(run_dir)
    if number > 1:
        (run_dir / "history").mkdir(exist_ok=True)
        for name in KEPT:
            with suppress(FileNotFoundError):
                replace_text(run_dir / "history" / f"{number - 1:03d}-{name}", (run_dir / name).read_text())
    environment = _environment(state, run_dir)
    replace_text(run_dir / CONFIG_NAME, config.to_yaml())
    replace_text(run_dir / "environment.json", json.dumps(environment, indent=2) + "\n")
    changed = [] if before is None else differing_fields(before, config.to_dict())
    _append(run_dir, {
        "start": number,
        "time": _now(),
        "step": state.step,
        "kimg": state.seen_kimg,
        **{key: environment[key] for key in NAMED},
        "data": data,
        "data_key": state.data_key,
        "changed": [[name, str(old), str(new)] for name, old, new in changed],
    })  # fmt: skip


def record_end(state: TrainingState, reason: str, run_dir: Path) -> None:
    """A line about the end of the newest start, where the disk takes it. For rank 0."""
    with suppress(OSError):
        _append(run_dir, {"end": reason, "time": _now(), "step": state.step, "kimg": state.seen_kimg})


def _environment(state: TrainingState, run_dir: Path) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": git_commit(),
        # Relative paths of the configuration start there (`sarigan.config.paths`).
        "started_in": os.getcwd(),
        "started_from_run": os.path.relpath(Path.cwd(), run_dir.resolve()),
        **numeric_platform(state.precision),
        "cuda": torch.version.cuda,
    }


def _settings(run_dir: Path) -> dict[str, Any] | None:
    """Those of the newest start; None where there is none that can be read."""
    try:
        values = yaml.safe_load(read_yaml_text(run_dir / CONFIG_NAME))
    except (OSError, InputError, ValueError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else None


def _append(run_dir: Path, line: Mapping[str, Any]) -> None:
    with open(run_dir / HISTORY_NAME, "a") as file:
        file.write(json.dumps(line) + "\n")


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
