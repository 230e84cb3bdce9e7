"""Runs beside one another on one page: what differs in their configurations, curves, metrics, the same seeds."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sarigan.files.run_record import RunRecord
from sarigan.systems.system import System
from sarigan.visualization.report.charts import line_chart
from sarigan.visualization.report.page import Section, data_uri, figure, make_page, table
from sarigan.visualization.report.results import measured_at, number
from sarigan.visualization.sheet import make_sheet, pictures

# Of the log; those of groups are many and stand in each run's own report.
SHOWN = ("metrics/", "loss/", "logits/", "information/r2_g", "augmentation/", "speed/")
# What a column of samples has in common, by whether the system makes them of inputs held out.
COLUMNS = {
    False: "A seed is another image in every model, so compare rows, not columns.",
    True: "A column has one held-out input, so compare the images of a column.",
}


@dataclass(frozen=True)
class ComparedRun:
    """A run under the name that it has on the page."""

    label: str
    record: RunRecord
    method: str
    samples: Tensor | None  # [N,3,H,W] of the averaged networks, on the CPU; None without a checkpoint


@torch.no_grad()
def first_samples(system: System, count: int) -> Tensor:
    """What the averaged networks make of the first `count` seeds or held-out inputs: [N,3,H,W] in about -1..1."""
    return torch.cat(list(system.generated_images(count, count))).float().cpu()


def doubts(runs: Sequence[ComparedRun]) -> list[str]:
    """One line for each reason why numbers of the runs may not compare."""
    found = []
    for what, values in _differences_of_judges(runs).items():
        listed = ", ".join(f"{run.label} {value}" for run, value in zip(runs, values, strict=True))
        found.append(f"the runs differ in their {what} ({listed}): their distances and losses do not compare")
    return found


def _differences_of_judges(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """Data and resolution, a value a run, where any two differ."""
    values = {"data": _comparable_data(runs), "resolution": [str(_resolution(run.record)) for run in runs]}
    return {what: of_runs for what, of_runs in values.items() if len(set(of_runs)) > 1}


def comparison_page(runs: Sequence[ComparedRun]) -> str:
    """The whole document."""
    notes = "".join(f"<p><strong>{html.escape(doubt)}.</strong></p>" for doubt in doubts(runs))
    sections = [_summary(runs), _differences(runs), _samples(runs), _metrics(runs), _curves(runs)]
    names = ", ".join(run.label for run in runs)
    return make_page(f"Comparison: {names}", notes, sections, f"{len(runs)} runs; averaged networks, no truncation.")


def _summary(runs: Sequence[ComparedRun]) -> Section:
    rows = []
    for run in runs:
        last = run.record.log[-1] if run.record.log else {}
        start = run.record.starts[-1] if run.record.starts else {}
        kimg, seconds = last.get("kimg", math.nan), last.get("seconds", math.nan)
        speed = 1000 * kimg / seconds if seconds else math.nan
        rows.append([
            run.label, run.method, _data(run.record), f"{_resolution(run.record)} px", number(kimg), number(seconds / 60),
            number(speed), f"{start.get('device', '')} {start.get('precision', '')}".strip(),
            str(start.get("commit") or "")[:10],
        ])  # fmt: skip
    headings = ["run", "method", "data", "resolution", "kimg", "minutes", "images/s", "machine", "commit"]
    return Section("summary", "The runs", table(headings, rows, (4, 5, 6)))


def _differences(runs: Sequence[ComparedRun]) -> Section:
    """The settings in which any two differ, a column a run."""
    flat = [dict(_flat(run.record.config)) for run in runs]
    names = sorted({name for settings in flat for name in settings})
    rows = [
        [name, *(str(settings.get(name, "-")) for settings in flat)]
        for name in names
        if len({repr(settings.get(name)) for settings in flat}) > 1
    ]
    body = table(["setting", *(run.label for run in runs)], rows) if rows else "<p>None: one configuration.</p>"
    return Section("configuration", "What differs in the configurations", body)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found


def _samples(runs: Sequence[ComparedRun]) -> Section:
    """A row a run; a sheet a run where sizes differ."""
    there = [run for run in runs if run.samples is not None and len(run.samples)]
    sizes = {run.samples.shape[1:] for run in there if run.samples is not None}
    sheets = [there] if len(sizes) == 1 else [[run] for run in there]
    body = ""
    for shown in sheets:
        rows = [pictures(run.samples) for run in shown if run.samples is not None]
        heads = [f"sample {number}" for number in range(max(map(len, rows)))]
        sheet = make_sheet(rows, heads, [run.label for run in shown])
        names = ", ".join(run.label for run in shown)
        body += figure(data_uri(sheet), f"Samples of {names}", width=sheet.width)
    count = max((len(run.samples) for run in there if run.samples is not None), default=0)
    kinds = sorted({"held_out" in run.record.config for run in there})
    note = f"<p>Of the newest checkpoints. {' '.join(COLUMNS[held_out] for held_out in kinds)}</p>"
    return Section("samples", f"The first {count} samples of each run", note + body if body else "")


def _metrics(runs: Sequence[ComparedRun]) -> Section:
    """A row a metric and protocol, a column a run; numbers of two protocols never share a row."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for run in runs:
        for result in run.record.metrics:
            key = str(result.get("name")), str(result.get("protocol") or "")
            value, spread = result.get("value"), number(result.get("spread"), result.get("value"))
            found.setdefault(key, {})[run.label] = {
                "value": number(value) + (f" ± {spread}" if spread else ""),
                "chance": number(result.get("null"), value),
                "seen": measured_at(result, run.record),
            }
    columns = {"chance": "chance", "seen": "after thousand images"}
    shown = {key: title for key, title in columns.items() if any(one[key] for of in found.values() for one in of.values())}
    rows = [
        [name, *(of.get(run.label, {}).get("value", "") for run in runs), *(_together(of, key) for key in shown), protocol]
        for (name, protocol), of in sorted(found.items())
    ]
    headings = ["metric", *(run.label for run in runs), *shown.values(), "protocol"]
    return Section("metrics", "Metrics", table(headings, rows, tuple(range(1, len(runs) + 1)), folds=True) if rows else "")


def _together(results: Mapping[str, Mapping[str, str]], field: str) -> str:
    """A field of the results of one metric: the text that they share, or each run's after its label."""
    texts = {label: result[field] for label, result in results.items() if result[field]}
    if len(set(texts.values())) < 2:
        return next(iter(texts.values()), "")
    return ", ".join(f"{label}: {text}" for label, text in texts.items())


def _curves(runs: Sequence[ComparedRun]) -> Section:
    keys = sorted({key for run in runs for line in run.record.log for key in line if key.startswith(SHOWN)})
    keys.sort(key=lambda key: next(place for place, start in enumerate(SHOWN) if key.startswith(start)))
    charts = [line_chart(_title(key, runs), {run.label: run.record.series(key) for run in runs}) for key in keys]
    return Section("curves", "Curves", f'<div class="charts">{"".join(charts)}</div>' if any(charts) else "")


def _title(key: str, runs: Sequence[ComparedRun]) -> str:
    """The key, with what speaks against a comparison of the runs by it."""
    reasons = list(_differences_of_judges(runs)) if key.startswith(("metrics/", "loss/", "logits/")) else []
    objectives = {repr([run.record.config.get(name) for name in ("system", "objective")]) for run in runs}
    reasons += ["objective"] if key.startswith(("loss/", "logits/")) and len(objectives) > 1 else []
    return f"{key} (does not compare: other {', '.join(reasons)})" if reasons else key


def _comparable_data(runs: Sequence[ComparedRun]) -> list[str]:
    """The sets by their keys where all runs know theirs, else by name and path: a key and a path cannot be compared."""
    keys = [_data_key(run.record) for run in runs]
    return [str(key) for key in keys] if all(keys) else [_data_name(run.record) for run in runs]


def _data(record: RunRecord) -> str:
    """The set by its key, where the run knows it, else by name and path."""
    return str(_data_key(record) or _data_name(record))


def _data_key(record: RunRecord) -> Any:
    return record.starts[-1].get("data_key") if record.starts else None


def _data_name(record: RunRecord) -> str:
    data = record.config["data"]
    return f"{data['name']} {data.get('path') or ''}".strip()


def _resolution(record: RunRecord) -> Any:
    generator = record.config.get("generator")
    return generator.get("resolution", "?") if isinstance(generator, Mapping) else "?"
