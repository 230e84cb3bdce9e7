"""The runs of a study: every variant with every seed, each with its configuration, its place and its commands.

    <folder>/<variant>-seed<n>-<hash>/  record.json  config.yaml  training.log  evaluation.log  run/  scores-<hash>.json
        semantics.log  semantics-<hash>/

A run is the project's own `train`, `evaluate` and, where it is asked for, `semantics`, so whatever they promise holds here:
`train` goes on where it stopped, with the same bits, and anybody can repeat one by hand. The hash in a run's name is its
configuration's: another one is another run.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sarigan.config import Config, load_config
from sarigan.errors import InputError
from sarigan.files.checkpoint import NAME_PATTERN, list_checkpoints
from sarigan.files.paths import replace_text
from sarigan.files.reading import read_json_object, reading
from sarigan.files.run_record import git_commit, read_log
from sarigan.runs.resume import differing_fields
from sarigan.studies.runner import Job, Stage
from sarigan.studies.semantics_scores import semantics_results
from sarigan.studies.study import BUDGETS, Study, Variant

# No weight depends on these: with other values a run is the same run.
BOOKKEEPING = (
    "data.path", "data.num_workers", "training.device", "training.tick_kimg", "training.sample_kimg",
    "training.checkpoint_kimg", "training.num_checkpoints", "training.num_samples", "training.rank_timeout_seconds",
)  # fmt: skip
SARIGAN = (sys.executable, "-m", "sarigan")


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: Variant
    seed: int
    config: Config
    study: Study
    root: Path  # the study's folder

    @cached_property
    def config_hash(self) -> str:
        """SHA256 of the settings that differ from their defaults, without bookkeeping and metrics during training.

        So a setting that a later version adds changes no hash.
        """
        changed = differing_fields(type(self.config)().to_dict(), self.config.to_dict())
        kept = {name: b for name, _, b in changed if name not in BOOKKEEPING and not name.startswith("metrics.")}
        return _hash(kept)

    @property
    def name(self) -> str:
        """Its name, and that of its folder."""
        return f"{self.variant.name}-seed{self.seed}-{self.config_hash[:8]}"

    @property
    def folder(self) -> Path:
        """Everything about this run."""
        return self.root / self.name

    @property
    def run_dir(self) -> Path:
        """The run directory of `sarigan train`."""
        return self.folder / "run"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that judge it."""
        return self.study.metrics + self.variant.metrics

    @property
    def scores_path(self) -> Path:
        """The report of `sarigan evaluate`; another protocol has another name."""
        return self.folder / f"scores-{_hash([self.metrics, self.study.evaluation])[:8]}.json"

    @property
    def semantics_dir(self) -> Path | None:
        """Where `sarigan semantics` writes; with other options elsewhere. None when it is not asked for."""
        options = self.study.semantics
        return None if options is None else self.folder / f"semantics-{_hash(options)[:8]}"

    def is_trained(self) -> bool:
        """Whether its newest checkpoint is at the end of the budget."""
        found = list_checkpoints(self.run_dir / "checkpoints")
        if not found:
            return False
        match = NAME_PATTERN.fullmatch(found[-1].name)
        assert match
        step, training = int(match[1]), self.config.training
        if step * training.batch_size >= training.total_kimg * 1000:
            return True
        limit = training.max_minutes
        if limit is None:
            return False
        lines = read_log(self.run_dir / "log.jsonl")
        return any(line.get("step") == step and line.get("seconds", 0) + 0.01 >= 60 * limit for line in lines)

    def scores(self) -> dict[str, dict[str, Any]]:
        """Its results by name; empty until all are there."""
        found = self._evaluated()
        if found and self.semantics_dir is not None:
            groups = semantics_results(self._semantics())
            found = [*found, *groups] if groups else []
        return {result["name"]: result for result in found}

    def _evaluated(self) -> list[dict[str, Any]]:
        """Results of `sarigan evaluate`; empty until all metrics are there."""
        report = read_json_object(self.scores_path)
        unfinished = report.get("missing") or report.get("failure")
        return [] if unfinished else report.get("results", [])

    def _semantics(self) -> dict[str, Any]:
        """What `sarigan semantics` wrote; empty until it has."""
        return {} if self.semantics_dir is None else read_json_object(self.semantics_dir / "semantics.json")

    def record(self) -> dict[str, Any]:
        """What record.json says: variant, seed, hashes, commits."""
        return read_json_object(self.folder / "record.json")

    def begin(self) -> None:
        """Write config.yaml and record.json. InputError when its data are missing, or other ones than it began with."""
        _, dataset = self.config.open_data()
        before, data_key = self.record(), dataset.content_key
        if before.get("data_key", data_key) != data_key:
            raise InputError(
                f"{self.folder}: began with the data {before['data_key']!r}, which are {data_key!r} now; put those back, or"
                " move this folder away to train anew"
            )
        commits = list(before.get("commits", []))
        if git_commit() not in commits:
            commits.append(git_commit())
        record = {
            "variant": self.variant.name, "seed": self.seed, "config_hash": self.config_hash, "data_key": data_key,
            "commits": commits, "overrides": list(self.variant.overrides), "config": str(self.variant.config),
        }  # fmt: skip
        replace_text(self.folder / "config.yaml", self.config.to_yaml())
        replace_text(self.folder / "record.json", json.dumps(record, indent=1) + "\n")

    def commands(self) -> dict[str, list[str]]:
        """By the name of their stage: `train` (of several processes through `launch`), `evaluate`, `semantics` if asked for."""
        number = self.study.processes
        many = ["launch", "--standalone", f"--nproc_per_node={number}", "-m", "sarigan"] if number > 1 else []
        train = ["train", "--config", str(self.folder / "config.yaml"), "--run-dir", str(self.run_dir)]
        device = ["--device", self.config.training.device]
        evaluate = [
            "evaluate", "--checkpoint", str(self.run_dir), "--metrics", ",".join(self.metrics), "--num-workers", "0",
            *device, "--output", str(self.scores_path), *self.study.evaluation,
        ]  # fmt: skip
        found = {"training": [*SARIGAN, *many, *train], "evaluation": [*SARIGAN, *evaluate]}
        if self.study.semantics is not None:
            groups = ["semantics", str(self.run_dir), *device, "--output", str(self.semantics_dir), *self.study.semantics]
            found["semantics"] = [*SARIGAN, *groups]
        return found

    def job(self) -> Job:
        """What the runner does of it."""
        done = {
            "training": self.is_trained,
            "evaluation": lambda: bool(self._evaluated()),
            "semantics": lambda: bool(self._semantics()),
        }
        stages = [Stage(name, command, done[name]) for name, command in self.commands().items()]
        return Job(self.name, self.folder, stages, self.begin, self.run_dir)


def plan(study: Study, root: Path) -> list[Run]:
    """All runs, seed by seed, so that a study that is stopped early has every variant; InputError as `load_config`.

    InputError, too, for two variants that are the same.
    """
    kind, amount = study.budget
    runs = []
    for seed in study.seeds:
        for variant in study.variants:
            overrides = [*variant.overrides, f"{BUDGETS[kind]}={amount}", f"training.seed={seed}"]
            with reading(f"{study.path}: variants.{variant.name}", "variant"):
                runs.append(Run(variant, seed, load_config(variant.config, overrides), study, root))
    for run, other in ((a, b) for index, a in enumerate(runs) for b in runs[:index]):
        if run.config_hash == other.config_hash:
            raise InputError(
                f"{study.path}: variants {other.variant.name} and {run.variant.name} are the same configuration; remove one"
            )
    return runs


def chosen(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of these names (None: all); a name is a run's, without its hash, or a variant's. InputError for another one."""
    found: list[Run] = []
    for name in names:
        of = [run for run in runs if name in (run.name, run.name.rpartition("-")[0], run.variant.name)]
        if not of:
            known = ", ".join(dict.fromkeys(run.variant.name for run in runs))
            raise InputError(f"--only: no run or variant {name!r}; the variants are {known}")
        found += [run for run in of if run not in found]
    return found if names else list(runs)


def leftovers(runs: Sequence[Run], root: Path) -> list[str]:
    """Names of folders with runs of configurations that the study no longer has."""
    known = {run.name for run in runs}
    return sorted(path.parent.name for path in root.glob("*/record.json") if path.parent.name not in known)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
