"""Images of a layout from the command line: files and sheet, styles, and bad input in one line."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.commands import train_segmenter
from sarigan.config import load_config
from sarigan.errors import InputError
from sarigan.models.feature_networks.avatar_networks import read_record
from sarigan.models.feature_networks.layout_segmenter import load_layout_segmenter
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
def run(run: Run) -> Run:
    """synthesize(arguments...)."""
    return partial(run, "synthesize")


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


def test_a_table_of_colours_lies_in_the_training_set(tmp_path: Path, run: Run) -> None:
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    layout = np.random.default_rng(0).integers(0, 3, (32, 32))
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(colors[layout]).save(tmp_path / "set" / name / f"{index}.png")
    (tmp_path / "set" / "colors.txt").write_text("255 0 0 a\n0 255 0 b\n0 0 255 c\n")
    data = ("data.name=folder", f"data.path={tmp_path / 'set'}", "data.num_classes=3", "data.colors=colors.txt")
    train(load_config(None, [*TINY, *data]), tmp_path / "run")
    label = tmp_path / "set" / "labels" / "0.png"
    run(tmp_path / "run", label, "--output", tmp_path / "inside")
    shutil.move(tmp_path / "set" / "colors.txt", tmp_path / "table.txt")
    run(tmp_path / "run", label, "--colors", tmp_path / "table.txt", "--output", tmp_path / "outside")
    assert np.array_equal(pixels(tmp_path / "inside" / "0-0.png"), pixels(tmp_path / "outside" / "0-0.png"))
    assert "colors.txt: cannot be read (No such file" in run(tmp_path / "run", label, "--output", tmp_path / "out", fails=True)


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
    shutil.copy(place / "red.png", tmp_path / "3.png")
    assert "--style: two images would have the name '3'; rename a picture" in error(
        place / "layout.png", "--seeds", "0-5", "--style", tmp_path / "3.png"
    )
    (tmp_path / "twice").mkdir()
    for name in ("a.png", "a.bmp"):
        Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(tmp_path / "twice" / name)
    assert "twice: two images would have the name 'a'" in error(tmp_path / "twice")
    assert "seeds are numbers and ranges" in error(place / "layout.png", "--seeds", "x")
    (tmp_path / "t.txt").write_text("1 2 3 a\n")
    assert "has 1 colours, data.num_classes=10 needs another number" in error(
        place / "layout.png", "--colors", tmp_path / "t.txt"
    )


def test_a_segmenter_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained on a toy whose class is its brightness, it reads unseen layouts; another set's images it does not."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("images", "labels"):
            (tmp_path / part / name).mkdir(parents=True)
        for index in range(12):
            layout = random.integers(0, 3, (4, 6)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            image = (layout * 100)[:, :, None].repeat(3, axis=2)
            layout[:3, :3] = 255
            Image.fromarray(layout).save(tmp_path / part / "labels" / f"{index}.png")
            Image.fromarray(image).save(tmp_path / part / "images" / f"{index}.png")
    config = tmp_path / "toy.yaml"
    config.write_text(
        "system: semantic_layout\n"
        f"data: {{name: folder, path: {tmp_path / 'train'}, num_classes: 3, void: 255, num_workers: 0}}\n"
        "generator: {resolution: 48, height: 32, channels: 2, num_upsamples: 3, encoder_size: 16}\n"
        f"held_out: {{path: {tmp_path / 'test'}}}\n"
    )
    output = tmp_path / "segmenter.npz"
    arguments = ["x", str(config), "--output", str(output), "--num-images", "320", "--batch-size", "8"]
    monkeypatch.setattr(sys, "argv", arguments)
    train_segmenter.main()
    assert "mean IoU" in capsys.readouterr().out
    network = load_layout_segmenter(output)
    record = read_record(output)
    assert network.size == (32, 48) and network.names == ["class 0", "class 1", "class 2"]
    assert record["held_out"]["mean_iou"] > 0.9 and record["held_out"]["num_images"] == 12
    output.write_bytes(output.read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA256"):
        load_layout_segmenter(output)
    monkeypatch.setattr(sys, "argv", [*arguments[:3], str(tmp_path / "x.pt")])
    with pytest.raises(SystemExit) as end:
        train_segmenter.main()
    assert end.value.code == 2
