"""Figures of a study: for each metric a dot a run, a bar at each mean, the baseline's mean as a line across; and the page."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sarigan.files.paths import replace_file, replace_text
from sarigan.studies.plan import Run
from sarigan.studies.table import difference_rows, headings, mean_rows
from sarigan.visualization.report.charts import COLORS, nice_ticks
from sarigan.visualization.report.page import Section, data_uri, figure, make_page, table
from sarigan.visualization.sheet import GREY, INK, PAPER

SCALE = 2  # pixels a point, for sharp text
WIDTH, ROW, TOP, BOTTOM = 760, 30, 44, 46
RULE = (222, 222, 226)


def dot_plot(tabulated: dict[str, Any], metric: str) -> Image.Image:
    """Variants down, values across."""
    cells = {name: of["metrics"][metric] for name, of in tabulated["variants"].items() if metric in of["metrics"]}
    font, small = (ImageFont.load_default(size * SCALE) for size in (14, 12))
    left = round(max(font.getlength(name) for name in cells) / SCALE) + 24
    values = [value for cell in cells.values() for value in cell["values"].values()]
    margin = 0.06 * (max(values) - min(values)) or abs(values[0]) * 0.06 or 1.0
    low, high = min(values) - margin, max(values) + margin
    height = TOP + ROW * len(cells) + BOTTOM

    def x(value: float) -> float:
        return SCALE * (left + (value - low) / (high - low) * (WIDTH - left - 24))

    image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    better = "higher is better" if tabulated["metrics"][metric]["higher_is_better"] else "lower is better"
    draw.text((12 * SCALE, 10 * SCALE), f"{metric} ({better})", fill=INK, font=font)
    bottom = SCALE * (TOP + ROW * len(cells))
    for tick in nice_ticks(low, high):
        draw.line([(x(tick), SCALE * TOP), (x(tick), bottom)], fill=RULE, width=SCALE)
        draw.text((x(tick), bottom + 6 * SCALE), f"{tick:.4g}", fill=GREY, font=small, anchor="ma")
    base = cells.get(tabulated["baseline"])
    if base is not None:
        draw.line([(x(base["mean"]), SCALE * TOP), (x(base["mean"]), bottom)], fill=COLORS[1], width=SCALE)
    for index, (name, cell) in enumerate(cells.items()):
        y = SCALE * (TOP + ROW * (index + 0.5))
        draw.text((SCALE * (left - 12), y), name, fill=INK, font=font, anchor="rm")
        color = COLORS[1] if name == tabulated["baseline"] else COLORS[0]
        for value in cell["values"].values():
            radius = 4 * SCALE
            draw.ellipse([x(value) - radius, y - radius, x(value) + radius, y + radius], outline=color, width=SCALE)
        draw.line([(x(cell["mean"]), y - 9 * SCALE), (x(cell["mean"]), y + 9 * SCALE)], fill=color, width=2 * SCALE)
    return image


def write_figures(tabulated: dict[str, Any], folder: Path) -> dict[str, Image.Image]:
    """<folder>/<metric>.png of every metric with a finite value; returns them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    variants = tabulated["variants"].values()
    shown = [metric for metric in tabulated["metrics"] if any(metric in variant["metrics"] for variant in variants)]
    found = {metric: dot_plot(tabulated, metric) for metric in shown}
    for metric, image in found.items():
        replace_file(folder / f"{metric}.png", lambda file, image=image: image.save(file, "PNG"))  # type: ignore[misc]
    return found


def write_page(tabulated: dict[str, Any], runs: Sequence[Run], figures: dict[str, Image.Image], path: Path) -> None:
    """One HTML page: the tables, the figures, and the newest sample grid of every variant's first run."""
    means = table(["variant", "runs", *headings(tabulated)], mean_rows(tabulated))
    differences = table(["variant", *headings(tabulated)], difference_rows(tabulated))
    note = f"<p>Difference to {html.escape(tabulated['baseline'])}, with the 95% interval of the paired bootstrap.</p>"
    plots = "".join(figure(data_uri(image), metric, width=WIDTH) for metric, image in figures.items())
    sections = [
        Section("table", "Means", means),
        Section("differences", "Differences", note + differences),
        Section("figures", "Figures", plots),
        Section("samples", "Samples", "".join(_samples(runs))),
    ]
    budget = ", ".join(f"{amount:g} {kind}" for kind, amount in tabulated["budget"].items())
    introduction = f"<p>{html.escape(tabulated['question'])}</p><p>Budget of a run: {budget}.</p>"
    replace_text(path, make_page(f"Study {tabulated['study']}", introduction, sections, "Made by sarigan study plot."))


def _samples(runs: Sequence[Run]) -> list[str]:
    found = []
    for run in {run.variant.name: run for run in reversed(runs)}.values():
        grids = sorted((run.run_dir / "samples").glob("*.png"))
        if grids:
            with Image.open(grids[-1], formats=("PNG",)) as image:
                caption = f"{run.variant.name}, seed {run.seed}, after {int(grids[-1].stem) / 1000:g} thousand images"
                found.append(figure(data_uri(image), caption, caption))
    return found[::-1]
