"""What a run directory tells: configuration, environment, log, sample grids, metrics, locality; and the commit of the code."""

import math
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, step_of
from sarigan.files.reading import json_object, read_json_object, read_yaml_text, reading

CONFIG_NAME = "config.yaml"  # in a run directory
HISTORY_NAME = "history.jsonl"
REALS_NAME = "reals.png"
EXPECTED_FIELDS = ("data.name", "training.seed", "metrics")  # of every system


@dataclass
class RunRecord:
    """Everything the page shows that needs no generator."""

    folder: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    log: list[dict[str, float]]
    samples: list[tuple[int, Path]]  # images seen, grid; oldest first
    metrics: list[dict[str, Any]]  # results of scripts/evaluate.py and of training, the newest of every kind
    locality: list[dict[str, Any]]  # records of scripts/semantics.py
    starts: list[dict[str, Any]] = field(default_factory=list)  # lines of history.jsonl
    seen_kimg: float | None = None  # thousands of images that training had shown the newest checkpoint

    def series(self, key: str) -> list[tuple[float, float]]:
        """(kimg, value) of every log line that has the key."""
        return [(line["kimg"], line[key]) for line in self.log if key in line]

    def last(self, key: str) -> float:
        """The last value of a key; NaN when there is none."""
        found = self.series(key)
        return found[-1][1] if found else math.nan


def read_run(folder: Path) -> RunRecord:
    """The record of a run directory; InputError when it is none. What is missing in it is left empty."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run directory")
    config, text = _read_config(folder)
    samples = sorted((int(path.stem), path) for path in (folder / "samples").glob("*.png") if path.stem.isdecimal())
    written = [read_json_object(path).get("results") for path in (folder / "evaluation").glob("*.json")]
    results = [entry for found in written if isinstance(found, list) for entry in found if isinstance(entry, dict)]
    newest = {
        tuple(str(r.get(key)) for key in ("name", "protocol", "data", "num_images", "truncation_psi")): r
        for r in sorted(results, key=lambda r: str(r.get("time")))
    }
    locality = [read_json_object(path) for path in sorted((folder / "analysis").glob("locality-*.json"))]
    return RunRecord(
        folder,
        config,
        text,
        read_json_object(folder / "environment.json"),
        read_log(folder / "log.jsonl"),
        samples,
        list(newest.values()),
        [record for record in locality if "tests" in record],
        read_starts(folder / HISTORY_NAME),
        _seen_kimg(folder, config),
    )


def _seen_kimg(folder: Path, config: dict[str, Any]) -> float | None:
    checkpoints, training = list_checkpoints(folder / "checkpoints"), config["training"]
    step = step_of(checkpoints[-1]) if checkpoints else None
    return None if step is None or not _is_number(training.get("batch_size")) else step * training["batch_size"] / 1000


def read_starts(path: Path) -> list[dict[str, Any]]:
    """The starts in a history, each with the reason of its `end` where there is one; lines that a crash cut are left out."""
    try:
        lines = [json_object(text) for text in path.read_bytes().splitlines()]
    except OSError:
        return []
    starts: list[dict[str, Any]] = []
    for line in lines:
        if "start" in line:
            starts.append(line)
        elif "end" in line and starts:
            starts[-1] |= {"end": line["end"], "end_kimg": line.get("kimg")}
    return starts


def _read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """config.yaml as values and as text; InputError without the fields that the page shows."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: not a run directory (no config.yaml)")
    with reading(path, "configuration, truncated or damaged"):
        text = read_yaml_text(path)
        config = yaml.safe_load(text)
    for name in EXPECTED_FIELDS:
        value = config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise InputError(f"{path}: not the configuration of a run, truncated or damaged (no {name})")
    return config, text


def read_log(path: Path) -> list[dict[str, float]]:
    """The numbers of a log's lines; a line that a crash cut short or a disk spoilt is left out, and so is what is no number."""
    lines = []
    try:
        texts = path.read_bytes().splitlines()
    except OSError:
        return []
    for text in texts:
        numbers = {key: value for key, value in json_object(text).items() if _is_number(value)}
        if "kimg" in numbers:
            lines.append(numbers)
    return lines


def _is_number(value: Any) -> bool:
    """Whether a value can be drawn; NaN can, which a chart leaves out."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


@cache
def git_commit() -> str | None:
    """The commit of this source tree, with "+changes" where tracked files differ from it; None outside a repository."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # The package may be installed inside somebody else's repository.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
