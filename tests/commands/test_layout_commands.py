"""Images of a layout from the command line: files and sheet, styles, and bad input in one line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sarigan.commands import synthesize
from sarigan.config import load_config
from sarigan.runs.run import train

Run = Callable[..., str]
TINY = (
    "system=semantic_layout", "data.num_workers=0", "data.num_images=8", "generator.resolution=32", "generator.channels=2",
    "generator.num_upsamples=3", "generator.spade_hidden=4", "generator.style_dim=6", "generator.encoder_size=16",
    "discriminator.channels=3", "objective.perceptual_network=none", "statistics_images=4", "held_out.num_images=4",
    "training.batch_size=4", "training.total_kimg=0.008", "training.device=cpu", "training.precision=float32",
    "training.num_samples=4", "training.tick_kimg=1", "training.sample_kimg=100", "training.checkpoint_kimg=100",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models of avatars, one with an encoder and one with 3D noise, a layout and two pictures."""
    folder = tmp_path_factory.mktemp("layouts")
    for style in ("encoder", "noise"):
        train(load_config(None, [*TINY, f"generator.style={style}"]), folder / style)
    layout = np.zeros((64, 64), dtype=np.uint8)
    layout[20:50, 16:44] = 1
    layout[10:20, 20:40] = 8
    (folder / "layouts").mkdir()
    for path, pixels in (("layout", layout), ("layouts/a", layout), ("layouts/b", layout.T)):
        Image.fromarray(pixels).save(folder / f"{path}.png")
    random = np.random.default_rng(0)
    for name in ("red", "blue"):
        Image.fromarray(random.integers(0, 256, (40, 48, 3)).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, fails: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        if not fails:
            synthesize.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            synthesize.main()
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.count("\n") == 1
        return error

    return call


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_seeds_and_styles(place: Path, tmp_path: Path, run: Run) -> None:
    out = run(place / "encoder", place / "layout.png", "--seeds", "0-2", "--style", place / "red.png", place / "blue.png",
              "--output", tmp_path)  # fmt: skip
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"layout-{label}.png" for label in ("0", "1", "2", "red", "blue")} | {"sheet.png"}
    assert str(tmp_path / "sheet.png") in out and pixels(tmp_path / "layout-0.png").shape == (32, 32, 3)
    run(place / "encoder", place / "layout.png", "--seeds", "2", "--output", tmp_path / "again")
    assert np.array_equal(pixels(tmp_path / "again" / "layout-2.png"), pixels(tmp_path / "layout-2.png"))
    run(place / "encoder", place / "layout.png", "--style", place / "red.png", "--output", tmp_path / "style")
    assert {p.name for p in (tmp_path / "style").iterdir()} == {"layout-red.png", "sheet.png"}
    assert np.array_equal(pixels(tmp_path / "style" / "layout-red.png"), pixels(tmp_path / "layout-red.png"))


def test_a_folder_and_noise_by_region(place: Path, tmp_path: Path, run: Run) -> None:
    run(place / "noise", place / "layouts", "--output", tmp_path / "one")
    run(place / "noise", place / "layouts", "--by-region", "--output", tmp_path / "regions")
    for folder in ("one", "regions"):
        assert {p.name for p in (tmp_path / folder).iterdir()} == {"a-0.png", "b-0.png", "sheet.png"}


def test_bad_input_is_one_line(place: Path, tmp_path: Path, run: Run) -> None:
    def error(*arguments: object, model: str = "encoder") -> str:
        found = run(place / model, *arguments, "--output", tmp_path / "out", fails=True)
        assert not (tmp_path / "out").exists()
        return found

    Image.fromarray(np.full((32, 32), 10, dtype=np.uint8)).save(tmp_path / "high.png")
    assert "value 10 at row 0, column 0 is out of range; data.num_classes=10 allows 0 to 9" in error(tmp_path / "high.png")
    Image.fromarray(np.zeros((32, 64), dtype=np.uint8)).save(tmp_path / "wide.png")
    assert "is 64x32, the model makes 32x32; a layout must have that aspect" in error(tmp_path / "wide.png")
    assert "is a picture of mode RGB" in error(place / "red.png")
    assert "no such file or folder" in error(tmp_path / "absent.png")
    assert "the model has no image encoder" in error(place / "layout.png", "--style", place / "red.png", model="noise")
    assert "the model has no 3D noise" in error(place / "layout.png", "--by-region")
    assert "the model has no edges" in error(place / "layout.png", "--instances", place / "layout.png")
    assert "no such file" in error(place / "layout.png", "--style", tmp_path / "absent.png")
    assert "seeds are numbers and ranges" in error(place / "layout.png", "--seeds", "x")
    (tmp_path / "t.txt").write_text("1 2 3 a\n")
    assert "has 1 colours, data.num_classes=10 needs another number" in error(
        place / "layout.png", "--colors", tmp_path / "t.txt"
    )
