"""Curves of several runs: one figure with a line a run, and one line for whatever is wrong."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from sarigan.commands.curves import main

SVG = "{http://www.w3.org/2000/svg}"


def run_of(folder: Path, values: list[float]) -> Path:
    folder.mkdir()
    lines = [{"kimg": float(i), "metrics/kid": value, "step": i} for i, value in enumerate(values)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sarigan curves", *map(str, arguments)])
    main()


def test_a_line_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs, path = [run_of(tmp_path / "a", [3, 1, 2]), run_of(tmp_path / "<b>", [4, 3, 2])], tmp_path / "c.svg"
    call(monkeypatch, *runs, "--key", "metrics/kid", "--output", path)
    root = ElementTree.fromstring(path.read_text())
    assert len(root.findall(f"{SVG}polyline")) == 2
    assert {"a", "<b>", "metrics/kid"} <= {text.text for text in root.iter(f"{SVG}text")}
    printed = capsys.readouterr().out
    assert "a: 2 at the end, 2 kimg; lowest 1 at 1 kimg" in printed and f"figure: {path}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "--key", "metrics/kid"], "none: not a run directory with a log.jsonl"),
        (["a", "--key", "metrics/fid"], "a: the log has no 'metrics/fid'; it has kimg, metrics/kid, step"),
        (["a", "--key", "step", "--labels", "one", "two"], "--labels must be 1 different texts, one a run, got one, two"),
        (["a", "a", "--key", "step"], "--labels must be 2 different texts, one a run, got a, a"),
        (["a", "--key", "step", "--output", "a"], "a"),
    ],
)
def test_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_of(tmp_path / "a", [1.0])
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith("error: ") and message in error and error.count("\n") == 1
