"""The table of a study: mean and spread over seeds, and the paired difference to the baseline with its bootstrap interval.

Two runs of one seed see the same images in the same order and draw the same latents, so they are compared in pairs. The
interval resamples seeds. Of few seeds it is too narrow (three give ten different resamples), so the values themselves stand in
the JSON and in the figures.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from sarigan.metrics.completion_errors import paired_difference
from sarigan.studies.plan import Run

NUMBER = "{:.4g}"


def tabulate(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the table says, as JSON values; what is not finished is left out and counted.

    {"metrics": {name: {"higher_is_better", "protocol"}},
     "variants": {variant: {"finished", "seeds", "metrics": {name: cell}}}, ...}
    where a cell holds "values" by seed, "mean", "spread" (standard deviation over seeds, None of one), and unless it is the
    baseline's "difference", "low" and "high" (None of one seed).
    """
    study = runs[0].study
    scores = {(run.variant.name, run.seed): run.scores() for run in runs}
    metrics: dict[str, dict[str, Any]] = {}
    for found in scores.values():
        for name, result in found.items():
            metrics.setdefault(name, {key: result[key] for key in ("higher_is_better", "protocol")})
    values = {
        variant: {name: _values(scores, variant, study.seeds, name) for name in metrics}
        for variant in dict.fromkeys(run.variant.name for run in runs)
    }
    variants = {}
    for variant, of in values.items():
        finished = sum(1 for seed in study.seeds if scores.get((variant, seed)))
        cells = {name: _cell(of[name], None if variant == study.baseline else values.get(study.baseline, {}).get(name, {}))
                 for name in metrics if of[name]}  # fmt: skip
        variants[variant] = {"finished": finished, "seeds": len(study.seeds), "metrics": cells}
    records = {run.name: run.record() for run in runs if scores[run.variant.name, run.seed]}
    budget = dict([study.budget])
    return {
        "study": study.path.name, "question": study.question, "budget": budget, "baseline": study.baseline,
        "metrics": metrics, "variants": variants, "runs": records,
    }  # fmt: skip


def _values(scores: Any, variant: str, seeds: Sequence[int], name: str) -> dict[str, float]:
    """Finite values by seed."""
    found = {str(seed): scores.get((variant, seed), {}).get(name, {}).get("value") for seed in seeds}
    return {seed: value for seed, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}


def _cell(own: dict[str, float], baseline: dict[str, float] | None) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "values": own,
        "mean": statistics.fmean(own.values()),
        "spread": statistics.stdev(own.values()) if len(own) > 1 else None,
    }
    if baseline is None:
        return cell
    common = [seed for seed in own if seed in baseline]
    if common:
        pairs = [[of[seed] for seed in common] for of in (own, baseline)]
        mean, low, high = paired_difference(*pairs)  # type: ignore[arg-type]
        cell |= {"difference": mean, "low": low if len(common) > 1 else None, "high": high if len(common) > 1 else None}
    return cell


def headings(table: dict[str, Any]) -> list[str]:
    """Names of the metrics with an arrow to the better side."""
    return [f"{name} {'↑' if of['higher_is_better'] else '↓'}" for name, of in table["metrics"].items()]


def mean_rows(table: dict[str, Any]) -> list[list[str]]:
    """Of every variant: name, finished runs, mean ± spread of every metric."""
    rows = []
    for variant, of in table["variants"].items():
        mark = " (baseline)" if variant == table["baseline"] else ""
        rows.append([f"{variant}{mark}", f"{of['finished']} of {of['seeds']}"])
        for name in table["metrics"]:
            cell = of["metrics"].get(name)
            spread = "" if cell is None or cell["spread"] is None else f" ± {cell['spread']:.2g}"
            rows[-1].append("" if cell is None else NUMBER.format(cell["mean"]) + spread)
    return rows


def difference_rows(table: dict[str, Any]) -> list[list[str]]:
    """Of every variant but the baseline: name, and the difference of every metric with its interval."""
    rows = []
    for variant, of in table["variants"].items():
        if variant == table["baseline"]:
            continue
        rows.append([variant])
        for name in table["metrics"]:
            cell = of["metrics"].get(name, {})
            interval = f" [{cell['low']:+.3g}, {cell['high']:+.3g}]" if cell.get("low") is not None else ""
            rows[-1].append(f"{cell['difference']:+.3g}{interval}" if "difference" in cell else "")
    return rows


def to_markdown(table: dict[str, Any]) -> str:
    """The table for a person."""
    ((kind, amount),) = table["budget"].items()
    unit = "thousand images" if kind == "kimg" else "minutes of training"
    lines = [f"# {table['study']}", ""]
    lines += [table["question"], ""] if table["question"] else []
    lines += [f"Budget of a run: {amount:g} {unit}. Mean ± standard deviation over seeds.", ""]
    lines += _markdown(["variant", "runs", *headings(table)], mean_rows(table))
    if rows := difference_rows(table):
        lines += ["", f"Difference to {table['baseline']} over common seeds, 95% interval of the paired bootstrap:", ""]
        lines += _markdown(["variant", *headings(table)], rows)
    lines += ["", *(f"- {name}: {of['protocol']}" for name, of in table["metrics"].items())]
    commits = sorted({str(commit) for record in table["runs"].values() for commit in record.get("commits", [])})
    data = sorted({str(record.get("data_key")) for record in table["runs"].values()})
    lines += [f"- commits: {', '.join(commits) or 'none yet'}", f"- data: {', '.join(data) or 'none yet'}"]
    return "\n".join(lines) + "\n"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
