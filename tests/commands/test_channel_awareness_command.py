"""sarigan channel_awareness on a tiny class-conditional run of avatars: every kind, and one line for what is wrong."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sarigan.commands.channel_awareness import Job
from sarigan.config import load_config
from sarigan.data.avatars.attributes import CHOICES
from sarigan.data.loader import open_dataset
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]
NAMES = [*CHOICES["hair_color"]]
TINY = [
    "system=class_conditional", "data.name=avatars", "data.labels=hair_color", "data.num_workers=0", "data.num_images=60",
    "generator.resolution=32", "generator.z_dim=8", "generator.channels=2", "generator.multipliers=[4,2,2,2]",
    "generator.class_dim=4", "generator.attention_resolution=0", "generator.standing_batches=1",
    "generator.standing_batch_size=4", f"generator.class_names=[{','.join(NAMES)}]",
    f"generator.class_shares=[{','.join(['0.1'] * len(NAMES))}]",
    "discriminator.channels=2", "discriminator.multipliers=[1,1,1,1]", "discriminator.downsamplings=2",
    "discriminator.attention_resolution=0", "training.batch_size=4", "training.total_kimg=0.008", "training.num_samples=4",
    "training.device=cpu", "training.precision=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional generator of avatars after two steps."""
    folder = tmp_path_factory.mktemp("biggan")
    config = load_config(None, TINY)
    state = TrainingState(config, resolve_precision(config.training))
    Trainer(state, open_dataset(config.data, 32), [CheckpointHook(folder / "checkpoints", 100, 1)]).run()
    return folder


@pytest.fixture
def call(trained: Path, call_command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    """call(kind, options...) -> exit code, stdout and the lines of stderr that begin with `error`."""
    monkeypatch.chdir(tmp_path)

    def run(kind: str, *options: Any, model: Any = trained) -> tuple[int, str, str]:
        latents = [] if "--latents" in options else ["--latents", "4"]
        code, output, errors = call_command("channel_awareness", kind, model, *latents, *options)
        return code, output, "\n".join(line for line in errors if line.startswith("error"))

    return run


def test_every_kind(call: Build, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "channel_awareness"

    def record(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON

    code, out, _ = call("measure", "--top", 4, "--permutations", 10)
    assert code == 0 and "16x16.up" in out and [*record("awareness")["total"]] == NAMES
    code, out, _ = call("edit", "--layer", "16x16.up", "--class", "red", "--strongest", 2, "--amounts", "0,1", "--seeds", "0-1")
    assert code == 0 and "of 2 channels these many change less than one grey level of 255 on average:" in out
    assert "2 at times 1" in out  # an edit by 1 changes nothing
    code, _, _ = call("hybrid", "--class", "red", "--other-class", "black", "--tops", "0,4", "--seeds", "0-1")
    assert code == 0
    code, out, _ = call("keep", "--tops", "0,8", "--seeds", "0-1", "--draws", 2)
    curves = record("keep")["curves"]
    assert code == 0 and len(curves) == 6 and len({curve["accuracy"][1] for curve in curves.values()}) == 1
    code, out, _ = call("segment", "--class", "red", "--clusters", 3, "--seeds", "0-1", "--permutations", 2)
    assert code == 0 and "random weights" in out and 0 <= record("segment_red_3")["weighted"]["score"] <= 1
    results = [{"name": "class_fd", "details": {"classes": {name: float(index) for index, name in enumerate(NAMES)}}}]
    (tmp_path / "evaluation.json").write_text(json.dumps({"results": results}))
    code, out, _ = call("quality", "--evaluation", "evaluation.json", "--seeds", "0-1")
    assert code == 0 and "class_fd: Spearman" in out and record("quality")["correlations"]["class_fd"]["num_classes"] == 10
    results[0]["details"] = {"classes": dict.fromkeys(NAMES, 1.0)}
    (tmp_path / "constant.json").write_text(json.dumps({"results": results}))
    assert call("quality", "--evaluation", "constant.json", "--seeds", "0-1")[0] == 0
    assert record("quality")["correlations"]["class_fd"]["value"] is None
    sheets = ("overlap", "edit_16x16.up_red_scale", "hybrid_red_black_awareness", "segment_red_3", "quality")
    for name in sheets:
        assert Image.open(folder / f"{name}.png", formats=["PNG"]).size[0] > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "--top", 9), "--top must be 1 to 8, the number of channels of the widest layer, got 9"),
        (("measure", "--latents", 1), "--latents must be at least 2, got 1"),
        (("edit", "--layer", "16x16.u", "--class", "red"), "no layer '16x16.u': the layers are 8x8.up"),
        (("edit", "--layer", "16x16.up", "--class", "mauve"), "class 'mauve' does not exist; the generator's classes are"),
        (("edit", "--layer", "16x16.up", "--class", "red", "--channels", "1,4"), "no channel 4 in layer 16x16.up: the"),
        (("edit", "--layer", "16x16.up", "--class", "red", "--strongest", 5), "--strongest must be 1 to 4"),
        (("edit", "--layer", "16x16.up", "--class", "red", "--amounts", "x"), "--amounts takes numbers such as 0,0.5,1, got"),
        (("hybrid", "--class", "red", "--other-class", "mauve"), "class 'mauve' does not exist"),
        (("hybrid", "--class", "red", "--other-class", "black", "--tops", 9), "--tops must be 0 to 8, the number of channels"),
        (("hybrid", "--class", "red", "--other-class", "black", "--layers", "a"), "no layer 'a': the layers are 8x8.up"),
        (("segment", "--class", "red", "--clusters", 1025), "--clusters must be 2 to 1024, the positions of a map, got 1025"),
        (("segment", "--class", "red", "--rows", 0), "--rows must be at least 1, got 0"),
        (("keep", "--draws", 0), "--draws must be at least 1, got 0"),
        (("measure", "--truncation", "nan"), "--truncation must be a finite number, got nan"),
        (("quality", "--evaluation", "none.json"), "none.json"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(call: Build, arguments: tuple, message: str) -> None:
    code, _, error = call(*arguments)
    assert code == 2 and message in error and "\n" not in error


def test_a_class_that_is_no_file_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`shirt/top` is a fine label of a CSV file, and no folder; nothing is written outside of --output."""
    job = Job(argparse.Namespace(checkpoint="run"), None, {}, tmp_path)  # type: ignore[arg-type]
    for name in ("shirt/top", "../up"):
        job.save({}, "segment", name, 5)
    job.show(Image.new("RGB", (2, 2)), "edit", "16x16.up", "shirt/top")
    assert {path.name for path in tmp_path.iterdir()} == {
        "segment_shirt_top_5.json", "segment_.._up_5.json", "edit_16x16.up_shirt_top.png",
    }  # fmt: skip


def test_a_model_without_classes(call: Build, tiny_config: Build, tiny_trainer: Build, tmp_path: Path) -> None:
    hooks = [CheckpointHook(tmp_path / "plain" / "checkpoints", 100, 1)]
    tiny_trainer(tiny_config("training.total_kimg=0.008"), hooks).run()
    code, _, error = call("measure", model=tmp_path / "plain")
    assert code == 2 and error == "error: channel awareness: this generator was trained without classes (data.labels)"
    code, _, error = call("hybrid", "--class", "red", "--other-class", "black", model=tmp_path / "plain")
    assert code == 2 and "this needs class-conditional normalisation (system: class_conditional)" in error
