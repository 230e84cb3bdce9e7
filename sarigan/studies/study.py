"""A study file: which variants, with which seeds, trained how long, judged by which metrics.

    base: small.yaml                        # fields that are not said here; may be left out
    question: Does grouping help?
    budget: {kimg: 200}                     # or {minutes: 20} of training
    overrides: [generator.resolution=32]    # of all variants
    grid: {training.batch_size: [8, 16]}    # every variant with every value; may be left out
    variants:
      stylegan2: {config: ../configs/avatars_64_stylegan2.yaml}
      random: {config: ../configs/avatars_64_random.yaml, overrides: [...], metrics: [groups]}
    seeds: [0, 1, 2]
    baseline: stylegan2
    metrics: [fd_efficientnet]
    evaluation: [--num-images=5000]         # options of `sarigan evaluate`, without --checkpoint, --metrics, --output
    semantics: [--images=64]                # options of `sarigan semantics`, which judges the groups; left out: not asked
    processes: 1                            # of one run
    free_gb: 1                              # that the disk must have before a run starts

Paths of configurations are relative to the file.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from sarigan.errors import InputError
from sarigan.files.paths import kind_of
from sarigan.files.reading import read_yaml_text, reading
from sarigan.metrics.catalogue import metrics_named
from sarigan.seeding import MAX_SEED

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=,-]{0,99}")
_LONGEST = 10**9  # of kimg and minutes, as in TrainingConfig
BUDGETS = {"kimg": "training.total_kimg", "minutes": "training.max_minutes"}
_VARIANT_FIELDS = ("config", "overrides", "metrics")


@dataclass(frozen=True)
class Variant:
    """One configuration of a study. metrics: beside those of the study."""

    name: str
    config: Path
    overrides: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study file, checked. Configurations are checked by `sarigan.studies.plan`."""

    path: Path
    question: str
    budget: tuple[str, float]  # kimg | minutes, and how many
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    evaluation: tuple[str, ...]
    semantics: tuple[str, ...] | None  # None: not asked
    processes: int
    free_gb: float


def read_study(path: Path) -> Study:
    """The study of a YAML file; InputError naming the file and the field that is wrong."""
    if kind_of(path) != "file":
        raise InputError(f"{path}: no such file; a study is a YAML file such as those of studies/")
    with reading(path, "study"):
        values = _read_values(path)
        for name in ("budget", "variants", "metrics"):
            if name not in values:
                raise InputError(f"{name} is missing; a study has budget, variants and metrics at least")
        metrics = _metrics(values, "metrics")
        if not metrics:
            raise InputError("metrics must name at least one metric, got []")
        variants = tuple(_variants(values, metrics, path.parent))
        baseline = values.get("baseline", variants[0].name)
        if baseline not in [variant.name for variant in variants]:
            raise InputError(f"baseline must be one of {', '.join(v.name for v in variants)}, got {baseline!r}")
        return Study(
            path, str(values.get("question", "")), _budget(values["budget"]), variants, _seeds(values.get("seeds", [0])),
            baseline, metrics, _texts(values, "evaluation"), _texts(values, "semantics") if "semantics" in values else None,
            _processes(values.get("processes", 1)),
            _number(values.get("free_gb", 1), "free_gb", 0, 10**6),
        )  # fmt: skip


def _read_values(path: Path) -> dict[str, Any]:
    """The fields of the file, and of the one that it names as `base` those that it does not say itself."""
    known = [field.name for field in fields(Study) if field.name != "path"] + ["overrides", "grid", "base"]
    values = yaml.safe_load(read_yaml_text(path))
    _check_keys(values, known, "a study")
    if "base" not in values:
        return values
    name = values.pop("base")
    base = path.parent / name if isinstance(name, str) else None
    if base is None or kind_of(base) != "file":
        raise InputError(f"base must be the name of a YAML file beside this one, got {name!r}")
    inherited = yaml.safe_load(read_yaml_text(base))
    _check_keys(inherited, [field for field in known if field != "base"], f"the base {name}")
    return {**inherited, **values}


def _variants(values: Mapping[str, Any], metrics: Sequence[str], folder: Path) -> Iterator[Variant]:
    """Every variant of the file, with every point of the grid where there is one."""
    named = values["variants"]
    if not isinstance(named, dict) or not named:
        raise InputError(f"variants must be a mapping such as {{stylegan2: {{config: FILE}}}}, got {named!r}")
    common, points = _texts(values, "overrides"), [*_grid(values.get("grid", {}))]
    for name, of in named.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(f"variants: a name has letters, digits and the signs _ . = , - only, got {name!r}")
        where = f"variants.{name}"
        _check_keys(of, _VARIANT_FIELDS, where)
        if not isinstance(of.get("config"), str):
            raise InputError(f"{where}.config must be the name of a YAML file, got {of.get('config')!r}")
        config = folder / of["config"]
        if kind_of(config) != "file":
            raise InputError(f"{where}.config: {config} is no file; it is looked for beside the study")
        own = tuple(metric for metric in _metrics(of, "metrics", f"{where}.") if metric not in metrics)
        for point in points:
            label = ",".join([name, *(f"{key.rpartition('.')[2]}={value}" for key, value in point)])
            if not _NAME.fullmatch(label):
                raise InputError(f"grid: {label!r} is no name for a variant; give such variants one by one")
            varied = tuple(f"{key}={json.dumps(value)}" for key, value in point)
            yield Variant(label, config, (*common, *_texts(of, "overrides", f"{where}."), *varied), own)


def _grid(values: Any) -> Iterator[list[tuple[str, Any]]]:
    """[(section.key, value), ...] of every point; one empty point without a grid."""
    if not isinstance(values, dict) or not all(isinstance(v, list) and v for v in values.values()):
        raise InputError(f"grid must be a mapping such as {{training.batch_size: [8, 16]}}, got {values!r}")
    for chosen in itertools.product(*values.values()):
        yield list(zip(map(str, values), chosen, strict=True))


def _budget(values: Any) -> tuple[str, float]:
    if not isinstance(values, dict) or len(values) != 1 or next(iter(values)) not in BUDGETS:
        raise InputError(f"budget must be {{kimg: NUMBER}} or {{minutes: NUMBER}}, got {values!r}")
    ((kind, amount),) = values.items()
    return kind, _number(amount, f"budget.{kind}", 1e-9, _LONGEST)


def _seeds(values: Any) -> tuple[int, ...]:
    good = isinstance(values, list) and values and all(type(v) is int and 0 <= v <= MAX_SEED for v in values)
    if not good or len(set(values)) < len(values):
        raise InputError(f"seeds must be a list of different whole numbers such as [0, 1, 2], got {values!r}")
    return tuple(values)


def _processes(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 1024:
        raise InputError(f"processes must be a whole number from 1 to 1024, got {value!r}")
    return value


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return value


def _metrics(values: Mapping[str, Any], name: str, where: str = "") -> tuple[str, ...]:
    found = _texts(values, name, where)
    metrics_named(found)
    return found


def _texts(values: Mapping[str, Any], name: str, where: str = "") -> tuple[str, ...]:
    found = values.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"{where}{name} must be a list of texts, got {found!r}")
    return tuple(found)


def _check_keys(values: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{where} must be a mapping with {', '.join(known)}, got {values!r}")
    for key in values:
        if key not in known:
            raise InputError(f"{where} has no field {key!r}; it has {', '.join(known)}")
