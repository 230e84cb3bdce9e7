"""sarigan single_image: a picture in, pictures out, and one line for what is wrong."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import ROOT

from sarigan.commands import single_image
from sarigan.config import load_config
from sarigan.metrics.completion_errors import psnr
from sarigan.pretrained import load_single_image
from sarigan.systems.single_image import samples
from sarigan.visualization.sheet import pictures

Run = Callable[..., str]
SETTINGS = (
    "pyramid.min_size=10", "pyramid.ratio=0.5", "networks.num_layers=3", "networks.channels=4", "plan.iterations=2",
    "training.device=cpu", "training.num_samples=2",
)  # fmt: skip


@pytest.fixture
def run(run: Run) -> Run:
    """single_image(arguments...)."""
    return partial(run, "single_image")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a model of it, a drawing, a mask of it, and things of another size."""
    folder = tmp_path_factory.mktemp("single_image")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (20, 28, 3), dtype=np.uint8)).save(folder / "photo.png")
    Image.fromarray(random.integers(0, 256, (20, 28, 3), dtype=np.uint8)).save(folder / "drawing.png")
    mask = np.zeros((20, 28), dtype=np.uint8)
    mask[:3, :3] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask[:, :20]).save(folder / "other_mask.png")
    Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / "other.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", "train", str(folder / "photo.png"), "--run-dir", str(folder / "run"), *SETTINGS])
        single_image.main()
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_training_says_where_everything_is(place: Path, run: Run) -> None:
    out = run("train", place / "photo.png", "--run-dir", place / "run", *SETTINGS)
    assert "finished at 0.0 kimg" in out and str(place / "run" / "checkpoints") in out
    assert "picture.path" not in out and (place / "run" / "config.yaml").is_file()


def test_samples_of_any_size(place: Path, run: Run, tmp_path: Path) -> None:
    out = run("sample", place / "run", "--seeds", "0-2", "--size", "61x12", "--output", tmp_path, "--score", "efficientnet")
    assert size_of(tmp_path / "2.png") == (61, 12) and (tmp_path / "grid.png").is_file()
    assert "single_image_fd_efficientnet" in out and "over 3 samples" in out
    run("sample", place / "run", "--seeds", "4", "--start-scale", 2, "--output", tmp_path)
    expected = samples.random_sample(load_single_image(place / "run").generator, 4, None, 2)
    assert np.array_equal(pixels(tmp_path / "4.png"), pictures(expected)[0])


def test_super_resolution_is_compared_with_bicubic(place: Path, run: Run, tmp_path: Path) -> None:
    original = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(original).save(tmp_path / "large.png")
    out = run("super_resolve", place / "run", "--factor", 2, "--output", tmp_path / "s.png", "--original",
              tmp_path / "large.png")  # fmt: skip
    assert size_of(tmp_path / "s.png") == (56, 40)
    tensors = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (pixels(tmp_path / "s.png"), original)]
    assert f"PSNR of model: {float(psnr(*tensors, torch.ones(1))):.2f} dB" in out and "PSNR of bicubic" in out
    run("super_resolve", place / "run", "--factor", 1.5, "--picture", place / "other.png", "--output", tmp_path / "t.png")
    assert size_of(tmp_path / "t.png") == (30, 30)


def test_paint_changes_all_and_a_mask_keeps_the_outside(place: Path, run: Run, tmp_path: Path) -> None:
    run("paint", place / "run", place / "drawing.png", "--output", tmp_path / "p.png")
    assert size_of(tmp_path / "p.png") == (28, 20)
    out = run("harmonize", place / "run", place / "drawing.png", place / "mask.png", "--output", tmp_path / "h.png")
    assert "start scale 1" in out
    # The mask's corner of 3 px grows by 7 px and is blurred over 20.
    assert not np.array_equal(pixels(tmp_path / "h.png")[:3, :3], pixels(place / "photo.png")[:3, :3])
    run("edit", place / "run", place / "drawing.png", place / "mask.png", "--output", tmp_path / "e.png", "--start-scale", 2)
    assert not np.array_equal(pixels(tmp_path / "e.png"), pixels(tmp_path / "h.png"))


def test_an_animation_has_its_frames(place: Path, run: Run, tmp_path: Path) -> None:
    run("animate", place / "run", "--frames", 5, "--output", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 5 and film.width % 28 == 0


def test_a_model_in_training_makes_what_it_can(place: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = single_image.load_single_image

    def earlier(*arguments: object) -> object:
        system = load(*arguments)
        system.generator.num_begun.fill_(2)
        return system

    monkeypatch.setattr(single_image, "load_single_image", earlier)
    out = run("sample", place / "run", "--seeds", "0", "--output", tmp_path)
    assert "has trained 2 of 3 scales" in out and size_of(tmp_path / "0.png") == (20, 15)
    for task in ("harmonize", "edit"):
        run(task, place / "run", place / "drawing.png", place / "mask.png", "--output", tmp_path / f"{task}.png")
        assert size_of(tmp_path / f"{task}.png") == (20, 15)


@pytest.mark.parametrize("name", ["photo #1.png", "a: b.png", "007.png", "Größe.png"])
def test_names_that_yaml_would_read_otherwise(name: str, place: Path, run: Run, tmp_path: Path) -> None:
    """A setting of the command line is YAML, in which these mean something else."""
    shutil.copy(place / "photo.png", tmp_path / name)
    run("train", tmp_path / name, "--run-dir", tmp_path / "run", *SETTINGS)
    run("train", tmp_path / name, "--run-dir", tmp_path / "run", *SETTINGS)
    assert load_config(tmp_path / "run" / "config.yaml").data.path == str(tmp_path / name)


@pytest.mark.parametrize(("arguments", "message"), [
    (("sample", "RUN", "--size", "12"), "--size is WIDTHxHEIGHT in px, such as 400x160, got '12'"),
    (("sample", "RUN", "--size", "0x5"), "--size must be from 1x1 to 16,777,216 pixels"),
    (("sample", "RUN", "--size", "9999x9999"), "--size must be from 1x1 to 16,777,216 pixels"),
    (("sample", "RUN", "--seeds", "x"), "seeds are numbers and ranges"),
    (("sample", "RUN", "--start-scale", "3"), "--start-scale must be 0 to 2 (the finest), got 3"),
    (("sample", "absent"), "absent: does not exist"),
    (("super_resolve", "RUN", "--factor", "1"), "--factor must be above 1"),
    (("super_resolve", "RUN", "--picture", "absent.png"), "absent.png: does not exist"),
    (("super_resolve", "RUN", "--factor", "2", "--original", "photo.png"),
     "photo.png: is 28x20, the enlarged picture is 56x40"),
    (("super_resolve", "RUN", "--seed", "-1"), "--seed must be 0 to"),
    (("paint", "RUN", "other.png"), "other.png: is 20x20, the model's picture is 28x20"),
    (("paint", "RUN", "drawing.png", "--start-scale", "0"), "--start-scale must be 1 to 2"),
    (("harmonize", "RUN", "drawing.png", "other_mask.png"), "other_mask.png: is 20x20, the model's picture is 28x20"),
    (("edit", "RUN", "drawing.png", "drawing.png"), "drawing.png: a mask is black and white"),
    (("animate", "RUN", "--frames", "100000000"), "--frames must be 1 to 10,000"),
    (("animate", "RUN", "--frames", "0"), "--frames must be 1 to 10,000"),
    (("animate", "RUN", "--alpha", "2"), "--alpha must be 0 to 1"),
    (("animate", "RUN", "--beta", "nan"), "--beta must be 0 to 1"),
    (("animate", "RUN", "--output", "film.png"), "film.png: a film is a .mp4 or a .gif file"),
    (("train", "absent.png"), "absent.png: does not exist"),
    (("train", "photo.png", "pyramid.min_size=28"), "photo.png: a picture of 28x20 px is too small for the pyramid"),
    (("train", "photo.png", "--config", "quickstart.yaml"), "system must be single_image for this command, got 'style'"),
])  # fmt: skip
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, place: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = {"RUN": place / "run", "quickstart.yaml": ROOT / "configs" / "quickstart.yaml"}
    names |= {name: place / name for name in ("photo.png", "drawing.png", "other.png", "other_mask.png")}
    monkeypatch.chdir(tmp_path)
    assert message in run(*(names.get(argument, argument) for argument in arguments), fails=True)
    assert not list(tmp_path.rglob("*.*"))


def test_out_of_memory_is_one_line(place: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(samples, "random_sample", fails)
    assert "out of memory on cpu; a smaller image fits" in run("sample", place / "run", "--output", tmp_path / "x", fails=True)
    assert not (tmp_path / "x").exists()


def test_the_script_runs_from_a_checkout(place: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "single_image.py", "sample", place / "run", "--seeds", "0"]
    subprocess.run([*map(str, command), "--output", str(tmp_path)], check=True, capture_output=True)
    assert size_of(tmp_path / "0.png") == (28, 20)
