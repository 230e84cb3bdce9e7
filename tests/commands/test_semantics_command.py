"""The command `semantics`: one model, two models, its older name, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sarigan.runs.checkpoint_hook import CheckpointHook

Build = Callable[..., Any]
Main = Callable[..., tuple[int, str, list[str]]]
FEW = ("--images", "2", "--permutations", "2", "--partitions", "2", "--information-images", "64")


@pytest.fixture(scope="module")
def runs(tiny_config: Build, tiny_trainer: Build, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of avatars with and without groups, and one of StyleGAN."""
    plain = ["generator.grouping.kind=none", "objective.information_weight=0", "objective.path_length_weight=0"]
    found = {}
    for name, overrides in {"sarigan": [], "stylegan2": plain, "stylegan": [*plain, "generator.synthesis=adain"]}.items():
        folder = tmp_path_factory.mktemp("runs") / name
        config = tiny_config("training.total_kimg=0.008", *overrides)
        tiny_trainer(config, [CheckpointHook(folder / "checkpoints", 100, 1)]).run()
        found[name] = folder
    return found


@pytest.fixture
def main(call_command: Main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """`call_command` in an empty working directory; its stderr without the bars."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: Any) -> tuple[int, str, list[str]]:
        code, output, errors = call_command(command, *arguments)
        return code, output, [line for line in errors if "it/s" not in line and "s/it" not in line]

    return call


@pytest.mark.parametrize("command", ["semantics", "group_locality"])
def test_one_model(main: Main, runs: dict[str, Path], command: str, tmp_path: Path) -> None:
    code, output, errors = main(command, runs["sarigan"], "--layer", "8x8.up", *FEW, "--output", "found")
    assert code == 0, errors
    record = json.loads(Path("found/semantics.json").read_text())
    (model,) = record["models"].values()
    assert set(model["mean"]) == {"part IoU", "information", "edit lift", "disentanglement"}
    assert list(model["mean"]["part IoU"]) == ["its own", "k-means of kernels", "k-means of activations"]
    assert Path("found/semantics.md").read_text() in output and all(line in output for line in record["verdict"])
    assert json.loads(Path("found/locality-8x8.up.json").read_text())["layer"] == "8x8.up"


def test_two_models_of_other_methods(main: Main, runs: dict[str, Path], tmp_path: Path) -> None:
    code, _, errors = main("semantics", runs["sarigan"], runs["stylegan2"], "--groups", "2", *FEW)
    assert code == 0, errors
    (path,) = tmp_path.glob("out/semantics-*/semantics.json")
    record = json.loads(path.read_text())
    names, (pair,) = list(record["models"]), record["stability"]
    assert pair["models"] == names and names[0].startswith("sarigan") and names[1].startswith("stylegan2")
    assert pair["ways"] == ["k-means of kernels", "k-means of activations"]
    assert "its own" not in record["models"][names[1]]["mean"]["part IoU"]


@pytest.mark.parametrize(
    ("models", "arguments", "message"),
    [
        (["stylegan"], [], "needs channels with the styles of StyleGAN2 or SariGAN; this generator has none"),
        (["sarigan"], ["--layer", "9x9.up"], "no layer '9x9.up': the layers are 8x8.up, 8x8.conv"),
        (["sarigan"], ["--layer", "4x4.conv"], "no layer '4x4.conv': the layers are 8x8.up, 8x8.conv"),
        (["sarigan", "sarigan"], [], "models are compared with one another: 2 were given, of which 1 differ"),
        (["sarigan", "stylegan2"], ["--parts", "m.npz"], "--parts m.npz: masks belong to the images of one model, 2 models"),
        (["stylegan2"], ["--groups", "99"], "--groups must be 1 to"),
        (["stylegan2"], ["--groups", "0"], "--groups must be at least 1, got 0"),
        (["sarigan"], ["--partitions", "1"], "--partitions must be at least 2, got 1"),
        (["sarigan"], ["--information-images", "9"], "--information-images must be at least 64, got 9"),
        (["sarigan"], ["--output", "file"], "file: cannot write there (File exists)"),
    ],
)
def test_what_is_refused(
    main: Main, runs: dict[str, Path], models: list[str], arguments: list[str], message: str, tmp_path: Path
) -> None:
    Path("file").write_text("kept")
    code, output, (line,) = main("semantics", *(runs[name] for name in models), *FEW, *arguments)
    assert (code, output) == (2, "") and line.startswith("error: ") and message in line
    assert not Path("out").exists() and not list(runs["sarigan"].glob("analysis"))


def test_parts_of_a_file_without_attributes(main: Main, runs: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    np.savez("masks.npz", masks=np.random.default_rng(0).integers(0, 2, (2, 8, 8)), names=np.array(["rest", "hat"]))
    code, _, errors = main("semantics", runs["sarigan"], "--layer", "8x8.up", *FEW, "--parts", "masks.npz", "--output", "o")
    assert code == 0 and "nothing names attributes of these images" in caplog.text, errors
    (model,) = json.loads(Path("o/semantics.json").read_text())["models"].values()
    assert set(model["mean"]) == {"part IoU", "edit lift"}
