"""What the image-making scripts draw, picture by picture, against images made by hand from latents, codes and features."""

import importlib
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sarigan import load_generator
from sarigan.files.checkpoint import checkpoint_path, save_checkpoint
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import heat_colors

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FIGURES = ("attention_maps", "editing", "samples", "mixing")
PSI = 0.7  # of all scripts but generate.py
Build = Callable[..., Any]
Drawn = Callable[..., list[list[np.ndarray | None]]]


@pytest.fixture(scope="module")
def checkpoint(tiny_config: Build, tiny_state: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of an 8 px SariGAN with noise, a mean latent, and in every layer three groups of lively codes h."""
    torch.manual_seed(0)
    state = tiny_state(tiny_config())
    average = state.system.average.module
    average.update_mean_latent(200)
    with torch.no_grad():
        for _, layer in average.synthesis.named_layers():
            if layer.grouping is not None:
                layer.style.h_scale.weight.mul_(4)
                layer.grouping.logits[torch.arange(3), torch.arange(3)] = 10.0
    run = tmp_path_factory.mktemp("run")
    save_checkpoint(state.state_dict(), checkpoint_path(run / "checkpoints", 0))
    return run


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> Generator:
    return load_generator(checkpoint)


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """run(script, arguments...): in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def call(script: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", str(checkpoint), *map(str, arguments), "--device", "cpu"])
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")

    return call


@pytest.fixture
def drawn(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """drawn(script, arguments...): the cells of the one sheet that it makes, row by row."""
    sheets: list[list[list[np.ndarray | None]]] = []
    for name in FIGURES:
        module = importlib.import_module(f"sarigan.visualization.{name}")

        def record(rows: Sequence[Sequence], *arguments: Any, make_sheet: Any = module.make_sheet, **options: Any) -> Any:
            sheets.append([list(row) for row in rows])
            return make_sheet(rows, *arguments, **options)

        monkeypatch.setattr(module, "make_sheet", record)

    def call(script: str, *arguments: object) -> list[list[np.ndarray | None]]:
        sheets.clear()
        run(script, *arguments, "--output", "o")
        (sheet,) = sheets
        return sheet

    return call


def latents_of(generator: Generator, seeds: Sequence[int], psi: float = PSI) -> Tensor:
    """mean + psi (w - mean) for every layer: [N,L,w_dim]."""
    z = torch.stack([torch.randn(generator.config.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    with torch.no_grad():
        w = generator.mapping(z)
    w = generator.mean_latent + psi * (w - generator.mean_latent)
    return w[:, None].repeat(1, generator.num_latents, 1)


@torch.no_grad()
def images_of(generator: Generator, latents: Tensor, noise: str = "fixed") -> Tensor:
    return generator.synthesize(latents, noise).images


def pictures_of(images: Tensor) -> list[np.ndarray]:
    """Images [N,3,R,R] in -1..1 -> N pictures [R,R,3] in 0..255."""
    return list(((images + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).int().numpy())


def assert_same(found: Sequence[np.ndarray | None], expected: Sequence[np.ndarray]) -> None:
    """Within one level of 255, the rounding of other batches."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one is not None and np.abs(one.astype(int) - other).max() <= 1


def assert_all_differ(pictures: Sequence[np.ndarray]) -> None:
    """By far more than rounding."""
    for index, one in enumerate(pictures):
        assert all(np.abs(one.astype(int) - other).max() > 3 for other in pictures[:index])


def edited(generator: Generator, latents: Tensor, layer: str, change: Callable[[Any], Any]) -> Tensor:
    """Images [N,3,R,R] when `change` is applied to the codes of a layer."""
    style = dict(generator.synthesis.named_layers())[layer].style
    handle = style.register_forward_hook(lambda module, arguments, codes: change(codes))
    try:
        return images_of(generator, latents)
    finally:
        handle.remove()


def groups_of(generator: Generator, layer: str) -> Tensor:
    """The group of every channel of a layer: [c]."""
    (found,) = [item for item in generator.grouped_layers() if item.name == layer]
    return found.grouping.membership().argmax(dim=1)


def test_truncation_sweep(drawn: Drawn, generator: Generator) -> None:
    psis = (0, 0.5, 1, 1.5)
    rows = drawn("generate", "--seeds", "3,4", "--noise", "none", "--truncation-sweep", ",".join(map(str, psis)))
    by_psi = [pictures_of(images_of(generator, latents_of(generator, [3, 4], psi), "none")) for psi in psis]
    assert len(rows) == 2
    for row, expected in zip(rows, zip(*by_psi, strict=True), strict=True):
        assert_same(row, expected)
        assert_all_differ(expected)


@pytest.mark.parametrize("space", ["z", "w"])
def test_film(run: Callable[..., None], generator: Generator, monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    """Two seeds, three frames from each to the next and back, under the first seed's noise."""
    from sarigan.visualization import samples as generation

    frames: list[np.ndarray] = []
    save_video = generation.save_video

    def record(found: Iterable[np.ndarray], path: Path) -> None:
        frames.extend(found)
        save_video(frames, path)

    monkeypatch.setattr(generation, "save_video", record)
    run("generate", "--seeds", "3,4", "--frames", 3, "--space", space, "--noise", "fixed", "--video", "film.gif")
    shares = [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]  # of the second seed
    if space == "w":
        first, second = latents_of(generator, [3, 4], 1.0).split(1)
        latents = torch.cat([(1 - share) * first + share * second for share in shares])
    else:
        a, b = (torch.randn(8, generator=torch.Generator().manual_seed(seed)).double().numpy() for seed in (3, 4))
        angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        points = []
        for share in shares:
            point = np.sin((1 - share) * angle) * a / np.linalg.norm(a) + np.sin(share * angle) * b / np.linalg.norm(b)
            points.append(point / np.sin(angle) * ((1 - share) * np.linalg.norm(a) + share * np.linalg.norm(b)))
        with torch.no_grad():
            w = generator.mapping(torch.from_numpy(np.stack(points)).float())
        latents = w[:, None].expand(-1, generator.num_latents, -1)
    expected = pictures_of(images_of(generator, latents))
    assert_same(frames, expected)
    assert_all_differ(expected[:4])
    with Image.open("film.gif") as film:
        assert film.n_frames == 6
        shown = []
        for index in range(6):
            film.seek(index)
            shown.append(np.array(film.convert("RGB")).astype(int)[::32, ::32])
    assert_all_differ(shown[:4])


@pytest.mark.parametrize("layers", ["0-1", "2", "fine"])
def test_mixing_by_layers(drawn: Drawn, generator: Generator, layers: str) -> None:
    chosen = {"0-1": [0, 1], "2": [2], "fine": [2, 3]}[layers]
    rows = drawn("style_mixing", "--rows", "0,1", "--columns", "2-4", "--layers", layers)
    a, b = latents_of(generator, [0, 1]), latents_of(generator, [2, 3, 4])
    check_mixing(generator, rows, a, b, lambda row, column: row.index_copy(0, torch.tensor(chosen), column[chosen]))


@pytest.mark.parametrize("half", ["h", "z"])
def test_mixing_by_halves(run: Callable[..., None], generator: Generator, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    from sarigan.visualization import mixing as style_mixing

    sheets = {}
    make_sheet = style_mixing.make_sheet

    def record(rows: list, columns: list, names: list, title: str, *arguments: Any, **options: Any) -> Any:
        sheets["h" if "codes h" in title else "z"] = rows
        return make_sheet(rows, columns, names, title, *arguments, **options)

    monkeypatch.setattr(style_mixing, "make_sheet", record)
    run("style_mixing", "--rows", "0,1", "--columns", "2-4", "--mode", "halves", "--output", "o")
    chosen = slice(0, 8) if half == "h" else slice(8, 16)

    def mix(row: Tensor, column: Tensor) -> Tensor:
        mixed = row.clone()
        mixed[:, chosen] = column[:, chosen]
        return mixed

    check_mixing(generator, sheets[half], latents_of(generator, [0, 1]), latents_of(generator, [2, 3, 4]), mix)


@pytest.mark.parametrize("codes", ["z", "h", "z,h"])
def test_mixing_by_groups(drawn: Drawn, generator: Generator, codes: str) -> None:
    """All groups of 8x8.conv, which shares its latent (2) with no ToRGB: h is the first half of that latent, z the second."""
    arguments = ("--mode", "groups", "--layer", "8x8.conv", "--groups", "all", "--codes", codes)
    rows = drawn("style_mixing", "--rows", "0,1", "--columns", "2-4", *arguments)

    def mix(row: Tensor, column: Tensor) -> Tensor:
        mixed = row.clone()
        for code in codes.split(","):
            part = slice(0, 8) if code == "h" else slice(8, 16)
            mixed[2, part] = column[2, part]
        return mixed

    check_mixing(generator, rows, latents_of(generator, [0, 1]), latents_of(generator, [2, 3, 4]), mix)


def check_mixing(generator: Generator, rows: list, a: Tensor, b: Tensor, mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Row and column images [L,w_dim] at the edges, between them what `mix` makes of the latents of both."""
    assert rows[0][0] is None
    assert_same(rows[0][1:], pictures_of(images_of(generator, b)))
    assert_same([row[0] for row in rows[1:]], pictures_of(images_of(generator, a)))
    for i, row in enumerate(rows[1:]):
        expected = pictures_of(images_of(generator, torch.stack([mix(a[i], column) for column in b])))
        assert_same(row[1:], expected)
        assert_all_differ([*pictures_of(images_of(generator, a[i : i + 1])), *expected])


def test_noise_sheet(drawn: Drawn, generator: Generator) -> None:
    """Four images of one w that differ in their noise, one without, and the deviation over all noises."""
    (row,) = drawn("style_mixing", "--rows", "5", "--mode", "noise", "--noises", 6)
    assert_same(row[4:5], pictures_of(images_of(generator, latents_of(generator, [5]), "none")))
    assert_all_differ(row[:5])  # type: ignore[arg-type]
    colours = {tuple(pixel) for pixel in row[5].reshape(-1, 3)}  # type: ignore[union-attr]
    assert len(colours) > 10 and tuple(heat_colors(np.ones(1))[0]) in colours


@pytest.mark.parametrize("kind", ["scale", "toward"])
def test_edits_of_one_group(drawn: Drawn, generator: Generator, kind: str) -> None:
    layer, code = ("8x8.conv", "h") if kind == "scale" else ("8x8.up", "z")
    groups = groups_of(generator, layer)
    group = int(groups.mode().values)
    options = ("--scale",) if kind == "scale" else ("--toward", 7)
    amounts = (0, 4) if kind == "scale" else (0.5, 1.5)
    named = ("--layer", layer, "--code", code, "--groups", group)
    rows = drawn("edit_groups", *named, *options, "--seeds", "0-2", "--amounts", ",".join(map(str, amounts)))
    latents = latents_of(generator, [0, 1, 2])
    other = generator.synthesis.layer_codes(latents_of(generator, [7]))["8x8.up"]

    def change(amount: float) -> Callable[[Any], Any]:
        if kind == "scale":
            factors = torch.where(torch.arange(3) == group, amount, 1.0)
            return lambda codes: replace(codes, h_scale=codes.h_scale * factors)
        moved = torch.where(groups == group, amount, 0.0)
        return lambda codes: replace(codes, z_scale=codes.z_scale + moved * (other.z_scale - codes.z_scale))

    before = images_of(generator, latents)
    after = [edited(generator, latents, layer, change(amount)) for amount in amounts]
    maps = (after[-1] - before).abs().mean(dim=1).numpy()
    expected = [pictures_of(before), *map(pictures_of, after), list(heat_colors(maps / maps.max()))]
    for row, pictures in zip(rows, zip(*expected, strict=True), strict=True):
        assert_same(row, pictures)
        assert_all_differ(pictures)


def test_edits_of_all_groups(drawn: Drawn, generator: Generator) -> None:
    """A row a group: the first seed's image edited, and where the last amount changes the images of all seeds, on one scale."""
    layer = "8x8.conv"
    present = sorted(set(groups_of(generator, layer).tolist()))
    rows = drawn("edit_groups", "--layer", layer, "--code", "h", "--scale", "--seeds", "0-2", "--amounts", "0,4")
    latents = latents_of(generator, [0, 1, 2])
    before = images_of(generator, latents)
    assert len(rows) == len(present) > 1
    pictures, changes = [], []
    for group in present:
        after = []
        for amount in (0.0, 4.0):
            factors = torch.where(torch.arange(3) == group, amount, 1.0)
            after.append(edited(generator, latents, layer, lambda codes, f=factors: replace(codes, h_scale=codes.h_scale * f)))
        changes.append((after[-1] - before).abs().mean(dim=(0, 1)).numpy())
        pictures.append([pictures_of(images[:1])[0] for images in (before, *after)])
    largest = max(change.max() for change in changes)
    for row, images, change in zip(rows, pictures, changes, strict=True):
        assert_same(row, [*images, heat_colors(change / largest)])
    assert_all_differ([row[2] for row in rows])  # type: ignore[misc]


@pytest.mark.parametrize("absolute", [False, True])
def test_attention_maps(drawn: Drawn, generator: Generator, absolute: bool) -> None:
    """The mean feature of every group over the grey image, from its 1% to its 99% quantile over the images shown."""
    layer, seeds = "8x8.conv", [0, 1, 2]
    flags = ["--absolute"] if absolute else []
    rows = drawn("attention_maps", "--parts", "none", "--layers", layer, "--seeds", "0-2", *flags)
    found = {}
    module = dict(generator.synthesis.named_layers())[layer].modulation
    handle = module.register_forward_pre_hook(lambda module, arguments: found.update(x=arguments[0]))
    images = pictures_of(images_of(generator, latents_of(generator, seeds)))
    handle.remove()
    features = (found["x"].abs() if absolute else found["x"]).double().numpy()
    assert_same(rows[0], images)
    groups = groups_of(generator, layer).numpy()
    assert len(rows) == 1 + len(set(groups)) > 2
    for row, group in zip(rows[1:], sorted(set(groups)), strict=True):
        response = features[:, groups == group].mean(axis=1)
        low, high = np.quantile(response, [0.01, 0.99])
        heat = heat_colors((response - low) / (high - low))
        grey = np.stack(images).mean(axis=3, keepdims=True)
        assert_same(row, list((0.38 * grey + 0.62 * heat).round()))
        assert_all_differ(heat)
