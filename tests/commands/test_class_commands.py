"""Commands on a generator with classes: images of a class, sheets and films across classes, one line for what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan import load_generator
from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import LatentPath, latents_of_seeds, z_of_seeds
from sarigan.errors import InputError
from sarigan.exporting.rounding import measure_rounding
from sarigan.exporting.safetensors_export import half_weights
from sarigan.metrics.feature_statistics import GeneratedImages
from sarigan.metrics.information import InformationConfig, information
from sarigan.metrics.latent_sampling import all_latents
from sarigan.metrics.perceptual_path_length import PathLengthConfig, perceptual_path_length
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.models.generator import Generator
from sarigan.pretrained import load_system
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.systems.style.report import sections
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]
NAMES = ["boot", "rain coat", "hat, red"]
CLASSES = (
    "data.labels=folders", "generator.class_names=[boot, rain coat, 'hat, red']", "generator.class_shares=[0.5, 0.25, 0.25]",
)  # fmt: skip


class Labelled:
    """Random images of three classes."""

    resolution = 8

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (3, 8, 8), dtype=np.uint8)

    def extras(self, index: int) -> dict[str, np.ndarray]:
        return {"labels": np.array(index % 3)}

    def describe(self) -> str:
        return "random"


@pytest.fixture(scope="module")
def runs(tiny_config: Build, tiny_state: Build, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A SariGAN with classes and one without, of 8 px, after two steps."""
    found = {}
    for name, settings in {"classes": CLASSES, "plain": ()}.items():
        found[name] = tmp_path_factory.mktemp(name)
        config = tiny_config("training.total_kimg=0.016", *settings)
        Trainer(tiny_state(config), Labelled(), [CheckpointHook(found[name] / "checkpoints", 100, 1)]).run()
    return found


@pytest.fixture(scope="module")
def generator(runs: dict[str, Path]) -> Generator:
    return load_generator(runs["classes"])


@pytest.fixture
def main(call_command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    """main(command, arguments...) -> exit code and the last line of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: Any) -> tuple[int, str]:
        code, _, errors = call_command(command, *arguments)
        return code, "\n".join(line for line in errors if line.startswith("error"))

    return call


def made(generator: Generator, seeds: list[int], labels: list[int], psi: float = 1.0) -> np.ndarray:
    """uint8 [N,R,R,3] straight from the network, with fixed noise."""
    with torch.no_grad():
        z, tensor = z_of_seeds(generator, seeds), torch.tensor(labels)
        images = generator(z, noise="fixed", truncation_psi=psi, labels=tensor).images
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_generate_makes_images_of_a_class(main: Build, runs: dict[str, Path], generator: Generator, tmp_path: Path) -> None:
    here = ("--noise", "fixed", "--seeds", "4,6", "--output", "out")
    assert main("generate", runs["classes"], *here, "--class", "hat, red")[0] == 0
    for seed, image in zip((4, 6), made(generator, [4, 6], [2, 2]), strict=True):
        np.testing.assert_array_equal(picture(tmp_path / f"out/images/seed00000{seed}.png"), image)
    two = ("--seeds", "5,5", "--class", "boot", "--class", "rain coat", "--output", "two")
    options = ("--noise", "fixed", "--batch-size", "1", *two)
    assert main("generate", runs["classes"], *options)[0] == 0
    for label, image in enumerate(made(generator, [5, 5], [0, 1])):
        np.testing.assert_array_equal(picture(tmp_path / f"two/images/seed000005-class{label}.png"), image)
    assert (made(generator, [5], [0]) != made(generator, [5], [1])).any()


def test_without_a_class_a_seed_draws_its_own_whatever_stands_beside_it(generator: Generator) -> None:
    sampling = Sampling()
    labels = sampling.labels(generator, range(400))
    assert labels is not None and sampling.labels(generator, [7, 300]) == [labels[7], labels[300]]
    assert np.abs(np.bincount(labels) / 400 - [0.5, 0.25, 0.25]).max() < 0.1  # 4 standard deviations
    torch.testing.assert_close(sampling.latents(generator, [7]), sampling.latents(generator, range(6, 9))[1:2])
    assert sampling.headings(generator, [7]) == [f"seed 7, {NAMES[labels[7]]}"]


def test_sheets_and_films_across_classes(main: Build, runs: dict[str, Path], tmp_path: Path) -> None:
    run = runs["classes"]
    assert main("generate", run, "--class-sheet", "--seeds", "0-3", "--output", "sheet")[0] == 0
    assert picture(tmp_path / "sheet/classes.png").shape[0] > 3 * 96
    film = ("--seeds", "3,3", "--class", "boot", "--class", "rain coat", "--frames", "4", "--video", "film.gif")
    assert main("generate", run, *film)[0] == 0
    with Image.open(tmp_path / "film.gif") as frames:
        assert frames.n_frames == 8
    here = ("--rows", "0-1", "--columns", "2-3", "--output", "mix", "--class", "boot", "--column-class", "rain coat")
    assert main("style_mixing", run, *here, "--layers", "coarse")[0] == 0
    assert main("style_mixing", run, *here, "--mode", "halves")[0] == 0
    assert (tmp_path / "mix/half_h.png").is_file()


def test_an_interpolation_from_class_to_class_is_a_line_of_w(generator: Generator) -> None:
    path = LatentPath(generator, [3, 3], 4, labels=[0, 1])[:]
    ends = latents_of_seeds(generator, [3, 3], labels=[0, 1])
    torch.testing.assert_close(path[:5], torch.stack([torch.lerp(*ends, t / 4) for t in range(5)]))
    with pytest.raises(InputError, match="an interpolation in z stays in one class"):
        LatentPath(generator, [3, 4], 4, "z", labels=[0, 1])
    inside = LatentPath(generator, [3, 4], 2, "z", labels=[1, 1])[:]
    torch.testing.assert_close(inside[:1], latents_of_seeds(generator, [3], labels=[1]))


def test_one_line_for_what_is_wrong(main: Build, runs: dict[str, Path]) -> None:
    code, line = main("generate", runs["classes"], "--class", "shoe")
    assert code == 2 and line.endswith("class 'shoe' does not exist; the generator's classes are boot, rain coat, hat, red")
    for command, option in (("generate", "--class"), ("style_mixing", "--column-class"), ("attention_maps", "--class")):
        code, line = main(command, runs["plain"], option, "boot")
        assert code == 2 and line == "error: class 'boot': this generator was trained without classes"
    code, line = main("generate", runs["plain"], "--class-sheet")
    assert code == 2 and line == "error: a sheet of classes: this generator was trained without classes"
    code, line = main("generate", runs["classes"], "--class", "boot", "--latents", "x.npz")
    assert code == 2 and line.startswith("error: --class is the class of seeds")


def test_metrics_take_classes_by_their_shares(generator: Generator, runs: dict[str, Path]) -> None:
    images = GeneratedImages(generator, 300, seed=2)
    labels = images.labels(range(300))
    assert labels is not None and torch.equal(labels[5:9], images.labels(range(5, 9)) if labels is not None else labels)
    assert (torch.bincount(labels) / 300 - torch.tensor([0.5, 0.25, 0.25])).abs().max() < 0.12
    (batch,) = images.batches([[3, 4]], torch.device("cpu"))
    with torch.no_grad():
        expected = generator(images.z([3, 4]), noise=images.noise([3, 4]), labels=labels[3:5]).images
    torch.testing.assert_close(batch, expected)
    _, w = all_latents(generator, 6, 4, seed=2)
    torch.testing.assert_close(w, generator.mapping(images.z(range(6)), labels[:6]))


def test_the_other_metrics_exports_and_the_report_take_a_generator_with_classes(
    generator: Generator, runs: dict[str, Path]
) -> None:
    system, _ = load_system(runs["classes"])
    assert information(generator, system.discriminator, "w", InformationConfig(num_images=16)).num_images >= 16

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().mean(dim=(1, 2, 3))

    distance.suffix = ""  # type: ignore[attr-defined]
    for space in ("z", "w"):
        config = PathLengthConfig(space, "full", 8, batch_size=4, epsilon=1e-2)
        assert perceptual_path_length(generator, distance, config).value > 0  # type: ignore[arg-type]
    assert measure_rounding(generator, half_weights(generator), num_images=6, batch_size=4).num_images == 6
    found = sections(generator, are_avatars=False)[0]()
    assert found.key == "classes" and "<img" in found.body
    assert sections(load_generator(runs["plain"]), are_avatars=False)[0]().body == ""
