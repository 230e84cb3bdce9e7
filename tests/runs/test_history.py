"""A run remembers every start: commands, settings, data, what was changed, and the pictures it was shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.config import load_config
from sarigan.errors import InputError
from sarigan.files.run_record import read_run
from sarigan.pretrained import load_system
from sarigan.runs.run import train
from sarigan.visualization.nearest_images import nearest, neighbours_sheet, small
from sarigan.visualization.report.data_section import data_section
from sarigan.visualization.report.run_sections import history_section, introduction


@pytest.fixture(scope="module")
def run_dir(tiny_config: Callable[..., Any], png_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder that was started three times, with another rate the second time, and more to do the third."""
    folder = tmp_path_factory.mktemp("history") / "run"
    common = ("data.name=folder", f"data.path={png_folder}", "generator.resolution=16")
    train(tiny_config(*common, "training.total_kimg=0.016"), folder)
    train(tiny_config(*common, "training.total_kimg=0.032", "optimizer.generator_learning_rate=0.001"), folder)
    train(tiny_config(*common, "training.total_kimg=0.032", "optimizer.generator_learning_rate=0.001"), folder)
    return folder


def test_every_start_has_a_line(run_dir: Path) -> None:
    starts = read_run(run_dir).starts
    assert [start["start"] for start in starts] == [1, 2, 3] and [start["kimg"] for start in starts] == [0, 0.016, 0.032]
    changed = {name: (old, new) for name, old, new in starts[1]["changed"]}
    assert changed["training.total_kimg"] == ("0.016", "0.032") and "optimizer.generator_learning_rate" in changed
    assert starts[0]["changed"] == starts[2]["changed"] == []
    assert all(s["data_key"].startswith("image_folder-") and s["command"] and s["device"] == "cpu" for s in starts)


def test_earlier_configurations_and_environments_are_kept(run_dir: Path) -> None:
    kept = sorted(path.name for path in (run_dir / "history").iterdir())
    assert kept == ["001-config.yaml", "001-environment.json", "002-config.yaml", "002-environment.json"]
    assert load_config(run_dir / "history" / "001-config.yaml").training.total_kimg == 0.016
    assert load_config(run_dir / "config.yaml").training.total_kimg == 0.032
    assert "commit" in json.loads((run_dir / "history" / "001-environment.json").read_text())


def test_the_page_shows_starts_data_and_mean_speed(run_dir: Path) -> None:
    run = read_run(run_dir)
    body = history_section(run).body
    assert body.count("<tr>") == 4 and "training.total_kimg: 0.016 to 0.032" in body
    shown = introduction(run, "method", 16)
    speed = 1000 * run.log[-1]["kimg"] / run.log[-1]["seconds"]
    assert f"{speed:.1f} images/s" in shown and f"folder {Path(run.config['data']['path']).name}<" in shown
    system, config = load_system(run_dir)
    body = data_section(run, lambda: config.open_data()[1], system).body
    assert run.starts[-1]["data_key"] in body and run.config["data"]["path"] in body and body.count("data:image/webp") == 2
    assert "all 24 training images" in body and "8 of 64 samples" in body

    def gone() -> None:
        raise InputError("pictures: no such folder")

    body = data_section(run, gone, system).body  # type: ignore[arg-type]
    assert "The data cannot be read here: pictures: no such folder." in body and body.count("data:image/webp") == 1


def test_a_line_that_a_crash_cut_is_no_start(run_dir: Path, tmp_path: Path) -> None:
    text = (run_dir / "history.jsonl").read_text()
    (tmp_path / "history.jsonl").write_text(text[:-20] + '\n{"end": 3}\n[1]\n')
    (tmp_path / "config.yaml").write_text((run_dir / "config.yaml").read_text())
    assert 2 <= len(read_run(tmp_path).starts) <= 3
    assert history_section(read_run(tmp_path)).body


def test_real_images_beside_the_samples(run_dir: Path, png_folder: Path) -> None:
    """4 of 24, evenly over the set, enlarged by whole pixels."""
    grid = np.asarray(Image.open(run_dir / "reals.png"))
    factor = grid.shape[0] // 32
    first = np.asarray(Image.open(png_folder / "000.png"))
    last = np.asarray(Image.open(png_folder / "018.png"))
    plain = grid[::factor, ::factor]
    assert np.array_equal(plain[:16, :16], first) and np.array_equal(plain[16:, 16:], last)


class Images:
    """uint8 images of a tensor."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.resolution = images, images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[index].numpy()

    def describe(self) -> str:
        return "images"


def test_nearest_is_that_of_a_slow_loop() -> None:
    training = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    queries = torch.rand(5, 3, 32, 32) * 2 - 1
    queries[2] = training[4].float().flip(2) / 127.5 - 1  # mirrored: a copy all the same
    found = nearest(queries, small(training))
    for row in range(5):
        shown = ((queries[row].double() + 1) * 127.5).round().numpy()
        distances = []
        for other in training.double().numpy():
            both = []
            for image in (shown, shown[:, :, ::-1]):
                means = [
                    (image - other)[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
                    for c in range(3) for i in range(16) for j in range(16)
                ]  # fmt: skip
                both.append(np.sqrt(np.mean(np.square(means))))
            distances.append(min(both))
        assert found.rows[row] == int(np.argmin(distances))
        assert found.distances[row] == pytest.approx(min(distances), rel=1e-3, abs=0.1)
    assert found.rows[2] == 4 and found.distances[2] < 1


def test_copies_are_counted() -> None:
    training = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8)
    others = torch.rand(4, 3, 16, 16) * 2 - 1
    text = neighbours_sheet(others, Images(training))[1]
    assert "0 of 4 samples are nearer than half the latter distance: 4 samples cannot rule copies out." in text
    assert "the median of 4 training images" in text and "The 4 of 4 samples" in text
    others[1] = training[5].float() / 127.5 - 1
    sheet, text = neighbours_sheet(others, Images(training))
    assert "1 of 4 samples are nearer than half the latter distance: compare them" in text and "all 12 training images" in text
    assert 4 * 96 < sheet.width < 8 * 96


def test_the_samples_nearest_to_training_images_are_shown() -> None:
    training = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8)
    samples = torch.rand(20, 3, 16, 16) * 2 - 1
    samples[17] = training[5].float() / 127.5 - 1
    sheet, text = neighbours_sheet(samples, Images(training))
    assert "The 8 of 20 samples" in text
    left = sheet.width - 16 - 8 * 96 - 7 * 4
    shown = np.asarray(sheet)[-16 - 2 * 96 - 4 :][:, left : left + 96]
    copy = np.asarray(Image.fromarray(training[5].permute(1, 2, 0).numpy()).resize((96, 96), Image.Resampling.NEAREST))
    assert np.array_equal(shown[:96], copy) and np.array_equal(shown[100:196], copy)
