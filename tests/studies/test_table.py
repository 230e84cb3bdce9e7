"""Means, spreads, differences and pictures of given scores."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.studies.figures import write_figures, write_page
from sarigan.studies.plan import Run, plan
from sarigan.studies.study import read_study
from sarigan.studies.table import tabulate, to_markdown

SCORES = {
    ("random", 0): {"a": 1.0, "b": 5.0}, ("random", 1): {"a": 2.0, "b": 7.0}, ("random", 2): {"a": 6.0, "b": float("nan")},
    ("contiguous", 0): {"a": 1.5, "b": 1.0}, ("contiguous", 2): {"a": 5.0, "b": 2.0},
}  # fmt: skip


def write_scores(run: Run, values: dict[str, float], **more: object) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    results = [
        {"name": name, "value": v, "protocol": f"how {name}", "higher_is_better": name == "b"} for name, v in values.items()
    ]
    run.scores_path.write_text(json.dumps({"results": results, **more}))


@pytest.fixture
def runs(write_study: Callable[..., Path], tmp_path: Path) -> list[Run]:
    found = plan(read_study(write_study(seeds=[0, 1, 2])), tmp_path / "out")
    for run in found:
        if (run.variant.name, run.seed) in SCORES:
            write_scores(run, SCORES[run.variant.name, run.seed])
    return found


def test_means_spreads_and_paired_differences(runs: list[Run]) -> None:
    table = tabulate(runs)
    random, contiguous = (table["variants"][name] for name in ("random", "contiguous"))
    assert (random["finished"], contiguous["finished"], contiguous["seeds"]) == (3, 2, 3)
    assert random["metrics"]["a"]["mean"] == 3
    assert random["metrics"]["a"]["spread"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert random["metrics"]["b"]["values"] == {"0": 5.0, "1": 7.0}  # a value that is not finite is left out
    cell = contiguous["metrics"]["a"]  # of seeds 0 and 2: 0.5 and -1, so a resample's mean is 0.5, -0.25 or -1
    assert cell["difference"] == -0.25 and (cell["low"], cell["high"]) == (-1, 0.5)
    only = contiguous["metrics"]["b"]  # one common seed: a difference, and no interval
    assert only["difference"] == -4 and only["low"] is None
    assert "difference" not in random["metrics"]["a"]


def test_an_unfinished_report_counts_as_none(runs: list[Run]) -> None:
    write_scores(runs[0], {"a": 1.0}, missing=["b"])
    assert runs[0].scores() == {} and tabulate(runs)["variants"]["random"]["finished"] == 2


def test_markdown(runs: list[Run]) -> None:
    text = to_markdown(tabulate(runs))
    assert "| variant | runs | a ↓ | b ↑ |" in text
    assert "| random (baseline) | 3 of 3 | 3 ± 2.6 | 6 ± 1.4 |" in text
    assert "| contiguous | -0.25 [-1, +0.5] | -4 |" in text
    assert "Does it work?" in text and "- a: how a" in text and "0.04 thousand images" in text
    json.dumps(tabulate(runs), allow_nan=False)


def test_a_table_before_the_first_run(write_study: Callable[..., Path], tmp_path: Path) -> None:
    table = tabulate(plan(read_study(write_study()), tmp_path / "out"))
    assert table["metrics"] == {} and "0 of 2" in to_markdown(table)


def test_figures_and_page(runs: list[Run], tmp_path: Path) -> None:
    grid = runs[0].run_dir / "samples" / "000000040.png"
    grid.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(grid)
    write_scores(runs[1], {"c": float("nan")})  # a metric without a finite value has no figure
    write_scores(runs[3], SCORES["contiguous", 0])
    table = tabulate(runs)
    figures = write_figures(table, tmp_path / "figures")
    assert set(figures) == {"a", "b"}
    for name in figures:
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            colors = {color for _, color in image.convert("RGB").getcolors(1 << 20)}
            assert {(163, 52, 79), (47, 111, 159)} <= colors  # dots of both variants
    write_page(table, runs, figures, tmp_path / "study.html")
    page = (tmp_path / "study.html").read_text()
    assert page.count("data:image/webp") == 3 and "http" not in page.split("<body>")[1]
    assert "random, seed 0, after 0.04 thousand images" in page
