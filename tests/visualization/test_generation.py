"""Samples and films of any length: images are made, written and let go batch by batch."""

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.editing.edit_file import load_latents, save_latents
from sarigan.editing.rendering import Sampling, render
from sarigan.editing.seeds import LatentPath, latents_of_seeds
from sarigan.models.generator import Generator
from sarigan.visualization import samples as generation
from sarigan.visualization.mixing import noise_deviation
from sarigan.visualization.samples import save_interpolation, save_samples
from sarigan.visualization.sheet import pictures

BATCH = 3
SAMPLING = Sampling(truncation_psi=0.7, noise="fresh", batch_size=BATCH)


class Watched:
    """Looks on while a generator makes images: how many batches are alive, how many latents, what is on disk."""

    def __init__(self, generator: Generator, monkeypatch: pytest.MonkeyPatch, written: Callable[[], int]) -> None:
        self.made: list[weakref.ref] = []
        self.alive: list[int] = []  # batches of images before each one
        self.latents: list[int] = []  # that are held for each batch
        self.written: list[int] = []
        synthesize = Generator.synthesize

        def watched(of: Generator, latents: torch.Tensor, *arguments: Any) -> Any:
            self.alive.append(sum(images() is not None for images in self.made))
            self.latents.append(latents.untyped_storage().nbytes() // (latents[0].numel() * latents.element_size()))
            self.written.append(written())
            output = synthesize(of, latents, *arguments)
            self.made.append(weakref.ref(output.images))
            return output

        monkeypatch.setattr(Generator, "synthesize", watched)


@pytest.fixture(scope="module")
def generator(tiny_config: Callable, tiny_state: Callable) -> Generator:
    return tiny_state(tiny_config()).system.average.module.eval()


@pytest.mark.parametrize("count", [7, 31])
def test_samples_are_let_go_when_they_are_saved(
    generator: Generator, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = list(range(100, 100 + count))
    whole = pictures(SAMPLING.render(generator, SAMPLING.latents(generator, seeds), seeds))
    watched = Watched(generator, monkeypatch, lambda: len(list(tmp_path.glob("images/*.png"))))
    save_samples(generator, SAMPLING, SAMPLING.latents_on_demand(generator, seeds), seeds, [], tmp_path)
    assert watched.written == list(range(0, count, BATCH))
    assert max(watched.alive) <= 1 and max(watched.latents) <= BATCH
    for seed, picture in zip(seeds, whole, strict=True):
        saved = np.array(Image.open(tmp_path / "images" / f"seed{seed:06d}.png")).astype(int)
        assert np.abs(saved - picture).max() <= 1


def test_a_grid_shows_as_many_as_fit(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    side = generator.config.resolution
    monkeypatch.setattr(generation, "MAX_GRID_PIXELS", 4 * side**2 + 5)
    monkeypatch.setattr(generation, "GRID_WIDTH", 1)
    watched = Watched(generator, monkeypatch, lambda: len(list(tmp_path.glob("*/images/*.png"))))
    grids = {}
    for name, count, options in (("four", 4, {}), ("ten", 10, {}), ("alone", 10, {"grid_only": True})):
        latents = SAMPLING.latents_on_demand(generator, range(count))
        grids[name] = np.array(Image.open(save_samples(generator, SAMPLING, latents, None, [], tmp_path / name, **options)))
    assert grids["four"].shape == (2 * side, 2 * side, 3)
    assert np.abs(grids["ten"].astype(int) - grids["four"]).max() <= 1 and np.array_equal(grids["ten"], grids["alone"])
    line = "grid.png: shows the first 4 of 10 images"
    assert [message.endswith(line) for _, level, message in caplog.record_tuples if level == logging.WARNING] == [True, True]
    assert len(list(tmp_path.glob("ten/images/*.png"))) == 10 and not (tmp_path / "alone" / "images").exists()
    assert len(watched.made) == 2 + 4 + 3  # a grid alone ends when a batch comes that it does not show


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_films_are_written_as_they_are_made(
    generator: Generator, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg", reason="the extra `video` is not installed")
    path = tmp_path / name
    seeds, num_frames = [3, 1, 4, 1, 5], 4
    fixed = Sampling(truncation_psi=0.7, batch_size=BATCH)
    whole = pictures(render(generator, LatentPath(generator, seeds, num_frames, "z", 0.7)[:]))
    watched = Watched(generator, monkeypatch, lambda: path.stat().st_size if path.exists() else 0)
    save_interpolation(generator, fixed, seeds, "z", num_frames, [], path)
    assert len(watched.made) == 7 and max(watched.alive) <= 1 and max(watched.latents) <= BATCH
    if name.endswith("gif"):  # ffmpeg writes when it likes
        assert all(later > earlier for earlier, later in zip(watched.written[1:], watched.written[2:], strict=False))
        with Image.open(path) as film:
            assert film.n_frames == len(whole) == 20 and film.info["loop"] == 0
            for index, picture in enumerate(whole):
                film.seek(index)
                small = np.array(film.convert("RGB"))[::32, ::32]
                assert small.shape == picture.shape and np.abs(small.astype(int) - picture).mean() < 4


def test_latents_are_saved_as_they_are_made(generator: Generator, tmp_path: Path) -> None:
    asked = []

    class Lazy:
        def __len__(self) -> int:
            return 10

        def __getitem__(self, part: slice) -> torch.Tensor:
            asked.append(len(range(10)[part]))
            return whole[part]

    whole = latents_of_seeds(generator, range(10))
    save_latents(tmp_path / "latents.npz", generator, Lazy(), range(10), batch_size=4)
    assert asked == [4, 4, 2]
    assert torch.equal(load_latents(tmp_path / "latents.npz", generator), whole)


def test_noise_deviation_keeps_only_what_is_shown(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    images, expected = noise_deviation(generator, SAMPLING, 5, 17)
    watched = Watched(generator, monkeypatch, lambda: 0)
    shown, deviation = noise_deviation(generator, SAMPLING, 5, 17, 4)
    assert max(watched.alive) <= 1 and len(watched.made) == 6
    assert torch.equal(shown, images[:4]) and torch.equal(deviation, expected)
    by_hand = images.double().std(dim=0).mean(dim=0)
    assert by_hand.min() > 1e-3
    torch.testing.assert_close(deviation.double(), by_hand, rtol=1e-6, atol=0)
