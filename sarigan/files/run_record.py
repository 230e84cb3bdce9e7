"""What a run directory tells: its configuration, environment, log, sample grids, metrics and locality scores."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sarigan.errors import InputError

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
    locality: list[dict[str, Any]]  # records of scripts/group_locality.py

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
    samples = sorted(
        (int(path.stem), path) for path in (folder / "samples").glob("*.png") if path.stem.isdecimal()
    )
    written = [_json(path).get("results") for path in (folder / "evaluation").glob("*.json")]
    results = [entry for found in written if isinstance(found, list) for entry in found if isinstance(entry, dict)]
    newest = {
        tuple(str(r.get(key)) for key in ("name", "protocol", "data", "num_images", "truncation_psi")): r
        for r in sorted(results, key=lambda r: str(r.get("time")))
    }
    locality = [_json(path) for path in sorted((folder / "analysis").glob("locality-*.json"))]
    return RunRecord(
        folder,
        config,
        text,
        _json(folder / "environment.json"),
        _read_log(folder / "log.jsonl"),
        samples,
        list(newest.values()),
        [record for record in locality if "tests" in record],
    )


def _read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """config.yaml as values and as text; InputError without the fields that the page shows."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: not a run directory (no config.yaml)")
    try:
        text = path.read_text()
        config = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: not a readable configuration, truncated or damaged ({reason})") from None
    for name in EXPECTED_FIELDS:
        value = config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise InputError(f"{path}: not the configuration of a run, truncated or damaged (no {name})")
    return config, text


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_log(path: Path) -> list[dict[str, float]]:
    """The numbers of log lines; a line that a crash cut short or a disk spoilt is left out, and so is what is no number."""
    lines = []
    try:
        texts = path.read_bytes().splitlines()
    except OSError:
        return []
    for text in texts:
        try:
            line = json.loads(text.decode())
        except (ValueError, RecursionError):
            continue
        numbers = {key: value for key, value in line.items() if _is_number(value)} if isinstance(line, dict) else {}
        if "kimg" in numbers:
            lines.append(numbers)
    return lines


def _is_number(value: Any) -> bool:
    """Whether a value can be drawn; NaN can, which a chart leaves out."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)
