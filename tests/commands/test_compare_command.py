"""The page that compares runs, and what it says when they do not compare."""

import dataclasses
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.files.run_record import read_run
from sarigan.runs.run import train
from sarigan.visualization.report.comparison import ComparedRun, comparison_page

Main = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def runs(tiny_config: Callable[..., Any], png_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a and b on 24 pictures at 16 px, with another rate and a metric; c on another set at 8 px; d without a checkpoint."""
    root = tmp_path_factory.mktemp("compared")
    common = ("data.name=folder", f"data.path={png_folder}", "generator.resolution=16", "training.total_kimg=0.016")
    train(tiny_config(*common), root / "a")
    train(tiny_config(*common, "optimizer.generator_learning_rate=0.004"), root / "b <2>")
    train(tiny_config("data.name=folder", f"data.path={png_folder}", "training.total_kimg=0.016"), root / "c")
    for name, value in (("a", 10.0), ("b <2>", 8.0)):
        result = {"name": "fid", "value": value, "spread": 0.5, "protocol": "tf, 50 images", "num_images": 50, "time": "1"}
        judged = {"name": "information", "value": value / 100, "null": -1e-5, "protocol": "", "seen_kimg": value / 1000}
        (root / name / "evaluation").mkdir()
        (root / name / "evaluation" / "1.json").write_text(json.dumps({"results": [result, judged]}))
    (root / "d").mkdir()
    (root / "d" / "config.yaml").write_text((root / "a" / "config.yaml").read_text())
    return root


@pytest.fixture
def main(call_command: Any, monkeypatch: pytest.MonkeyPatch, runs: Path) -> Main:
    monkeypatch.chdir(runs)
    return partial(call_command, "compare")


def test_two_runs_on_one_page(main: Main, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, output, _ = main("a", "b <2>")
    page = (runs / "out" / "comparison.html").read_text()
    assert code == 0 and output.startswith("comparison: file://") and caplog.text == ""
    assert "b &lt;2&gt;" in page and "b <2>" not in page
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert ["optimizer.generator_learning_rate", "0.002", "0.004"] in cells
    assert [row for row in cells if row and row[0].startswith("optimizer.")] == [
        ["optimizer.generator_learning_rate", "0.002", "0.004"]
    ]
    assert ["fid", "10 ± 0.5", "8 ± 0.5", "", "-", "tf, 50 images"] in cells
    older = [f"measured at {seen}; the run is at 0.016" for seen in (0.01, 0.008)]
    assert ["information", "0.1", "0.08", "a: 0, b &lt;2&gt;: -0.00001", f"a: {older[0]}, b &lt;2&gt;: {older[1]}", ""] in cells
    assert page.count("data:image/webp") == 1 and "<figcaption>loss/generator</figcaption>" in page
    assert "The first 8 samples of each run" in page and "compare rows, not columns" in page and "held-out" not in page
    assert "http://" not in page and "https://" not in page


def test_runs_that_do_not_compare_are_told(main: Main, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, _, _ = main("a", "c", "--output", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert code == 0 and "differ in their data" in caplog.text and "differ in their resolution (a 16, c 8)" in caplog.text
    assert page.count("data:image/webp") == 2 and "their distances and losses do not compare" in page
    assert "<figcaption>loss/generator (does not compare: other data, resolution)<" in page
    caplog.clear()
    assert main("a", "d", "--output", tmp_path / "page.html")[0] == 0  # nothing is trained in d yet
    assert caplog.text == ""  # the key of the one is no other set than the path of the other


def test_losses_of_other_objectives_are_marked(runs: Path) -> None:
    record = read_run(runs / "a")
    other = dataclasses.replace(record, config=record.config | {"objective": record.config["objective"] | {"r1_gamma": 3.0}})
    images = torch.zeros(3, 3, 16, 16)
    page = comparison_page([ComparedRun("a", record, "x", images), ComparedRun("other", other, "x", images)])
    assert "loss/generator (does not compare: other objective)" in page
    assert "<figcaption>speed/images_per_second<" in page and "<figcaption>information/r2_g<" in page


def test_columns_of_inputs_held_out(runs: Path) -> None:
    """A completion is of one held-out image in every run; beside a model without inputs both sentences stand."""
    record = read_run(runs / "a")
    completing = dataclasses.replace(record, config=record.config | {"held_out": {}})
    images = torch.zeros(3, 3, 16, 16)
    made = [ComparedRun(label, of, "x", images) for label, of in (("a", completing), ("b", completing), ("c", record))]
    both, mixed = comparison_page(made[:2]), comparison_page(made[1:])
    assert "compare the images of a column" in both and "compare rows" not in both and "The first 3 samples" in both
    assert "compare the images of a column" in mixed and "compare rows" in mixed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "two different run directories at least, got a"),
        (["a", "a"], "two different run directories at least"),
        (["a", "nowhere"], "nowhere: no such run directory"),
        (["a", "b <2>", "--labels", "x"], "--labels must be 2 different texts"),
        (["a", "b <2>", "--output", "a"], "a: cannot write there"),
    ],
)
def test_wrong_input(main: Main, arguments: list[str], message: str) -> None:
    code, output, errors = main(*arguments)
    assert code == 2 and output == "" and message in errors[-1]
