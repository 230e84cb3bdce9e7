"""One value of several runs over training in one figure: sarigan curves runs/a runs/b --key metrics/kid_efficientnet

Reads <run>/log.jsonl. The runs stand under the names of their directories, unless --labels gives others.
"""

import argparse
from pathlib import Path

from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_file, replace_text
from sarigan.files.run_record import read_log
from sarigan.visualization.report.charts import chart_file


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw one value of several runs over training in one figure.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run directory")
    parser.add_argument("--key", required=True, help="a key of the log, e.g. metrics/kid_efficientnet or logits/real_sign")
    parser.add_argument("--labels", nargs="+", metavar="TEXT", help="one a run (default: the directories' names)")
    parser.add_argument(
        "--output", type=Path, default=Path("out/curves.svg"), metavar="FILE.svg", help="default out/curves.svg"
    )
    options = parser.parse_args()
    with exit_on_input_error():
        labels = options.labels or [run.resolve().name for run in options.runs]
        if len(set(labels)) != len(options.runs):
            raise InputError(f"--labels must be {len(options.runs)} different texts, one a run, got {', '.join(labels)}")
        series = {label: _series(run, options.key) for label, run in zip(labels, options.runs, strict=True)}
        with output_file(options.output):
            replace_text(options.output, chart_file(options.key, series))
        for label, points in series.items():
            kimg, best = min(points, key=lambda point: point[1])
            print(f"{label}: {points[-1][1]:.4g} at the end, {points[-1][0]:g} kimg; lowest {best:.4g} at {kimg:g} kimg")
        print(f"figure: {options.output}")


def _series(run: Path, key: str) -> list[tuple[float, float]]:
    """(kimg, value); InputError when the run has none."""
    lines = read_log(run / "log.jsonl")
    if not lines:
        raise InputError(f"{run}: not a run directory with a log.jsonl")
    points = [(line["kimg"], line[key]) for line in lines if key in line]
    if not points:
        known = ", ".join(sorted({name for line in lines for name in line}))
        raise InputError(f"{run}: the log has no {key!r}; it has {known}")
    return points
