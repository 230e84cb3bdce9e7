"""sarigan inpaint and sarigan evaluate_inpainting: pictures, table, sheet, and one line for what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.commands import evaluate_inpainting, inpaint
from sarigan.config import load_config
from sarigan.data.loader import open_dataset
from sarigan.data.mask_files import prepare
from sarigan.data.masks import MaskConfig, MaskSource
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import save_exported
from sarigan.metrics.completion_errors import hole_mae
from sarigan.models.feature_networks.published_file import PackagedFile
from sarigan.pretrained import load_inpainting
from sarigan.runs.run import train
from sarigan.systems.inpainting.comparison import hole_windows

Run = Callable[..., str]
SETTINGS = (
    "system=inpainting", "data.num_workers=0", "data.name=folder", "data.mask.kind=box",
    "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=64", "generator.channel_max=8", "encoder.global_dim=12",
    "discriminator.channel_base=64", "discriminator.channel_max=8", "objective.r1_interval=3",
    "training.batch_size=8", "training.total_kimg=0.016", "training.device=cpu", "training.precision=float32",
    "training.num_samples=4",
)  # fmt: skip


TWO_STAGES = (
    "system=two_stage_inpainting", "data.num_workers=0", "data.name=folder", "data.mask.kind=box", "generator.resolution=16",
    "generator.width=4", "discriminator.width=4", "objective.critic_steps=1",
    *(setting for setting in SETTINGS if setting.startswith("training.")),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, png_folder: Path) -> Path:
    """Three models of two steps, stored masks, a picture with its mask."""
    folder = tmp_path_factory.mktemp("inpainting")
    names = [f"{index:03d}.png" for index in range(24)]
    prepare(folder / "masks", names, MaskSource(MaskConfig("center"), 16, 0))
    paths = (f"data.path={png_folder}", f"held_out.path={png_folder}", f"held_out.masks={folder / 'masks'}")
    kinds = {
        "sari": ("generator.grouping.num_groups=3",),
        "sg2": ("generator.grouping.kind=none", "objective.information_weight=0"),
    }
    for name, kind in kinds.items():
        train(load_config(None, [*SETTINGS, *paths, *kind]), folder / name)
    train(load_config(None, [*TWO_STAGES, *paths]), folder / "ca")
    shutil.copy(png_folder / "003.png", folder / "photo.png")
    shutil.copy(folder / "masks" / "003.png", folder / "mask.png")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_several_completions_of_one_hole(place: Path, tmp_path: Path, run: Run) -> None:
    model, image, mask = place / "sari", place / "photo.png", place / "mask.png"
    out = run("inpaint", model, image, mask, "--seeds", "0-2", "--output", tmp_path)
    assert "pairs differ by 0." in out and "efficientnet_distance" in out
    original, hole = pixels(image), pixels(mask) == 255
    made = [pixels(tmp_path / f"photo-{seed}.png") for seed in range(3)]
    for one in made:
        assert np.array_equal(one[~hole], original[~hole]) and not np.array_equal(one[hole], original[hole])
    assert not np.array_equal(made[0], made[1])
    run("inpaint", model, image, mask, "--seeds", "2", "--output", tmp_path / "again")
    assert np.array_equal(pixels(tmp_path / "again" / "photo-2.png"), made[2])
    assert pixels(tmp_path / "sheet.png").ndim == 3
    # The other convention, named.
    Image.fromarray(255 - pixels(mask)).save(tmp_path / "inverted.png")
    assert "looks inverted" in run("inpaint", model, image, tmp_path / "inverted.png", "--output", tmp_path / "c", fails=True)
    run("inpaint", model, image, tmp_path / "inverted.png", "--white", "known", "--seeds", "2", "--output", tmp_path / "c")
    assert np.array_equal(pixels(tmp_path / "c" / "photo-2.png"), made[2])


def test_a_model_that_draws_nothing_says_so(place: Path, tmp_path: Path, run: Run) -> None:
    model, image, mask = place / "ca", place / "photo.png", place / "mask.png"
    out = run("inpaint", model, image, mask, "--seeds", "4-9", "--output", tmp_path)
    assert f"note: {model} draws nothing, so a hole has one completion; made for seed 4 alone\n" in out
    assert [path.name for path in tmp_path.glob("photo-*.png")] == ["photo-4.png"] and "pairs differ" not in out
    original, hole, made = pixels(image), pixels(mask) == 255, pixels(tmp_path / "photo-4.png")
    assert np.array_equal(made[~hole], original[~hole]) and not np.array_equal(made[hole], original[hole])
    error = run("inpaint", model, image, mask, "--truncation", "0.5", "--output", tmp_path / "out", fails=True)
    assert "truncation must be 1 for a model without latents, got 0.5" in error


def test_folders_of_pairs(place: Path, tmp_path: Path, run: Run, png_folder: Path) -> None:
    run("inpaint", place / "sg2", png_folder, place / "masks", "--output", tmp_path)
    assert len(list(tmp_path.glob("*-0.png"))) == 24 and (tmp_path / "sheet.png").exists()
    (tmp_path / "few").mkdir()
    shutil.copy(place / "masks" / "000.png", tmp_path / "few" / "000.png")
    error = run("inpaint", place / "sg2", png_folder, tmp_path / "few", "--output", tmp_path / "none", fails=True)
    assert "has no mask 001.png for image 001.png (23 of 24 images have none)" in error
    assert not (tmp_path / "none").exists()
    (tmp_path / "twins").mkdir()
    for suffix in (".png", ".jpg"):
        shutil.copy(png_folder / "000.png", tmp_path / "twins" / f"000{suffix}")
    error = run("inpaint", place / "sg2", tmp_path / "twins", tmp_path / "few", "--output", tmp_path / "none", fails=True)
    assert "images 000.jpg and 000.png would have one mask, 000.png" in error


@pytest.mark.parametrize("model", ["sari", "ca"])
def test_bad_input_is_one_line(model: str, place: Path, tmp_path: Path, run: Run) -> None:
    image, mask = place / "photo.png", place / "mask.png"

    def error(*arguments: object) -> str:
        return run("inpaint", *arguments, "--output", tmp_path / "out", fails=True)

    for size, line in (((8, 8), "is 8x8, smaller than the 16x16 of the model"), ((32, 16), "not completed tile by tile")):
        Image.new("RGB", size).save(tmp_path / "other.png")
        assert line in error(place / model, tmp_path / "other.png", mask)
    Image.new("L", (8, 8)).save(tmp_path / "small.png")
    assert "the mask is 8x8, the image 16x16" in error(place / model, image, tmp_path / "small.png")
    assert "got mode RGB" in error(place / model, image, image)
    assert "two files or two folders" in error(place / model, image, place / "masks")
    assert "no such file or folder" in error(place / model, tmp_path / "absent.png", mask)
    assert "seeds are numbers and ranges" in error(place / model, image, mask, "--seeds", "x")
    assert "--truncation must be a number" in error(place / model, image, mask, "--truncation", "nan")
    for value, line in ((0, "all"), (255, "all")):
        Image.new("L", (16, 16), value).save(tmp_path / "flat.png")
        assert line in error(place / model, image, tmp_path / "flat.png")
    Image.fromarray(255 - pixels(mask)).save(tmp_path / "inverted.png")
    assert "white" in error(place / model, image, tmp_path / "inverted.png")


def test_an_unconditional_checkpoint_is_named(tmp_path: Path, tiny_config: Callable[..., Any], png_folder: Path) -> None:
    trainer = train(tiny_config("data.name=folder", f"data.path={png_folder}", "training.total_kimg=0.008"), tmp_path / "run")
    with pytest.raises(
        InputError, match="holds a system 'style'; this needs a checkpoint of system: inpainting or two_stage_inpainting"
    ):
        load_inpainting(tmp_path / "run")
    save_exported(trainer.system.generator, tmp_path / "export", {})
    with pytest.raises(
        InputError,
        match="holds an export of a generator; this needs a checkpoint of system: inpainting or two_stage_inpainting",
    ):
        load_inpainting(tmp_path / "export")


def test_a_comparison(place: Path, tmp_path: Path, run: Run, png_folder: Path) -> None:
    models = [place / name for name in ("sari", "sg2", "ca")]
    out = run("evaluate_inpainting", *models, "--rows", "3", "--num-images", "12", "--output", tmp_path)
    assert (
        "12 of image_folder: 24 images" in out
        and "sg2 minus sari" in out
        and "ca minus sari" in out
        and out.startswith((tmp_path / "table.txt").read_text())
    )
    held = json.loads((tmp_path / "scores.json").read_text())
    names = {"relative_mae", "mae", "hole_mae", "psnr", "ssim", "efficientnet_distance"}
    distances = set(held["floors"])
    assert held["scores"]["sari"].keys() == names | distances and len(distances) == 4
    for model in ("sari", "sg2", "ca"):
        errors = held["errors_of_images"][model]
        assert errors.keys() == names and all(len(values) == 12 for values in errors.values())
        assert held["scores"][model]["ssim"] == pytest.approx(np.mean(errors["ssim"]))
        assert held["scores"][model]["hole_mae"] > held["scores"][model]["mae"] > 0
        # A quarter of the image is hole.
        assert held["scores"][model]["hole_mae"] == pytest.approx(4 * held["scores"][model]["mae"], rel=1e-6)
    difference = held["scores"]["sg2"]["psnr"] - held["scores"]["sari"]["psnr"]
    mean, low, high = held["differences"]["sg2"]["psnr"]
    assert mean == pytest.approx(difference) and low <= mean <= high
    # One score by hand, from the pictures themselves.
    system = load_inpainting(place / "sari")
    original, known, completed = system.completions.complete([5])
    by_hand = hole_mae((completed * 127.5 + 128).clamp(0, 255).to(torch.uint8), (original * 127.5 + 128).to(torch.uint8), known)
    assert held["errors_of_images"]["sari"]["hole_mae"][5] == pytest.approx(float(by_hand), rel=0.02)
    assert pixels(tmp_path / "sheet.png").ndim == 3


def test_discriminative_scores_of_many_images(
    place: Path, tmp_path: Path, run: Run, png_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sarigan.metrics.discriminative_score.MIN_IMAGES", 12)
    (tmp_path / "few").mkdir()
    for number in range(6):
        shutil.copy(png_folder / f"{number:03d}.png", tmp_path / "few")
    few = load_config(None, [f"data.path={tmp_path / 'few'}", "data.name=folder"]).data  # fewer than are completed
    monkeypatch.setattr(evaluate_inpainting, "open_dataset", lambda data, resolution: open_dataset(few, resolution))
    run("evaluate_inpainting", place / "sari", "--ids", "--num-images", "12", "--output", tmp_path)
    held = json.loads((tmp_path / "scores.json").read_text())
    assert not [name for name in held["floors"] if "ids" in name]  # a training image has no original
    # So few images are told apart whatever they show.
    assert held["scores"]["sari"]["u_ids_efficientnet"] == held["scores"]["sari"]["p_ids_efficientnet"] == 0


class PixelDistance:
    """Mean squared difference of pixels, under any name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().mean(dim=(1, 2, 3))


def test_the_distance_that_is_asked_for(place: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is measured, under its name; one line where its weights are missing."""
    image, mask = place / "photo.png", place / "mask.png"
    asked = ("--distance", "stlpips_vgg", "--output", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PackagedFile, "find", lambda self: None)
        for command, arguments in (("inpaint", (image, mask)), ("evaluate_inpainting", ("--num-images", "4"))):
            assert "pip install stlpips_pytorch==0.0.2" in run(command, place / "sari", *arguments, *asked, fails=True)
    for module in (inpaint, evaluate_inpainting):
        monkeypatch.setattr(module, "open_perceptual_distance", lambda device, name: PixelDistance(name))
    assert "in the hole, stlpips_vgg 0." in run("inpaint", place / "sari", image, mask, "--seeds", "0,1", *asked)
    run("evaluate_inpainting", place / "sari", "--num-images", "4", *asked)
    errors = json.loads((tmp_path / "scores.json").read_text())["errors_of_images"]["sari"]
    assert min(errors["stlpips_vgg"]) > 0 and "efficientnet_distance" not in errors


def test_comparisons_that_cannot_be_made(place: Path, tmp_path: Path, run: Run, png_folder: Path) -> None:
    def error(*arguments: object) -> str:
        return run("evaluate_inpainting", *arguments, "--output", tmp_path / "out", fails=True)

    assert "have one name" in error(place / "sari", place / "sari")
    assert "at least 4 images, got 3" in error(place / "sari", "--num-images", "3")
    assert "--batch-size must be at least 1, got 0" in error(place / "sari", "--batch-size", "0")
    assert "feature network must be one of" in error(place / "sari", "--networks", "resnet")
    assert "--ids: P-IDS and U-IDS need at least 10,000 images, got 24: of fewer" in error(place / "sari", "--ids")
    assert "no such folder of masks" in error(place / "sari", "--masks", tmp_path / "absent")


def test_the_training_set_is_opened_before_anything_is_completed(
    place: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise InputError("the training set is gone")

    monkeypatch.setattr(evaluate_inpainting, "open_dataset", gone)
    monkeypatch.setattr(evaluate_inpainting.Judge, "completed", lambda *_: pytest.fail("hours are spent"))
    error = run("evaluate_inpainting", place / "sari", "--num-images", "4", "--output", tmp_path / "out", fails=True)
    assert "the training set is gone" in error


def test_windows_around_holes() -> None:
    images = torch.arange(2 * 3 * 64).reshape(2, 3, 8, 8)
    known = torch.ones(2, 1, 8, 8)
    known[0, :, 2:6, 2:6] = 0
    known[1, :, 0, 0] = 0
    windows = hole_windows(images, known)
    assert torch.equal(windows[0], images[0, :, 2:6, 2:6]) and torch.equal(windows[1], images[1, :, :4, :4])
