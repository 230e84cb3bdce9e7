"""rosinality's and the release's checkpoints against their networks written anew in float64 (helpers/foreign_networks.py)."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_networks import images_of, judged, mapping, random_checkpoint, widths_at
from torch import Tensor

from sarigan import load_generator
from sarigan.errors import InputError
from sarigan.importing.foreign_file import read_foreign
from sarigan.pretrained import load_system

# The papers' widths take minutes of these two cores: SARIGAN_FULL_WIDTHS=1. Otherwise a sixteenth of them, of the same shape.
FULL = bool(os.environ.get("SARIGAN_FULL_WIDTHS"))
SHARE, SIZE = (1, 512) if FULL else (16, 32)


def latents(n: int, size: int) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def saved(content: Any, path: Path, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("groups", [0, 16 if FULL else 4], ids=["rosinality", "release"])
@pytest.mark.parametrize("base", [8192, 16384], ids=["E", "F"])
@pytest.mark.parametrize("resolution", [64, 256])
def test_against_the_networks_written_anew(resolution: int, base: int, groups: int, tmp_path: Path) -> None:
    widths = widths_at(resolution, base // SHARE, 512 // SHARE)
    content = random_checkpoint(widths, SIZE, groups=groups)
    path = saved(content, tmp_path / "a.pt")
    system, config = load_system(path)
    average, online = system.averages["ema_generator"].module, system.networks["generator"]
    assert (config.generator.resolution, config.generator.w_dim) == (resolution, SIZE * (2 if groups else 1))
    z = latents(1, SIZE)
    errors = []
    for generator, state in ((average, content["g_ema"]), (online, content["g"])):
        w = mapping(state, z)
        errors.append(relative(generator.mapping(z), w))
        errors.append(relative(generator(z, noise="fixed").images, images_of(state, w)))
    w = mapping(content["g_ema"], z)
    errors.append(relative(average(z, noise="none").images, images_of(content["g_ema"], w, noise=False)))
    centre = average.mean_latent + 0.7 * (w - average.mean_latent)
    errors.append(relative(average(z, noise="fixed", truncation_psi=0.7).images, images_of(content["g_ema"], centre)))
    images = torch.randn(1 if FULL else 4, 3, resolution, resolution, generator=torch.Generator().manual_seed(1)).double()
    logits, codes = judged(content["d"], images)
    output = system.networks["discriminator"](images)
    errors.append(relative(output.logits, logits))
    if codes is not None:
        errors.append(relative(output.codes, codes))
    print(f"{resolution} px, base {base // SHARE}, {groups} groups: largest relative error {max(errors):.1e}")
    assert max(errors) < 1e-9


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
@pytest.mark.parametrize(("depth", "widths", "groups"), [(8, [8, 8, 6], 0), (3, [4, 2], 0), (2, [8, 8, 8, 5], 5)])
def test_depths_widths_and_both_file_formats(legacy: bool, depth: int, widths: list[int], groups: int, tmp_path: Path) -> None:
    content = random_checkpoint(widths, 6, depth, groups, dtype=torch.float32)
    generator = load_generator(saved(content, tmp_path / "a.pt", legacy))
    assert generator.config.mapping_layers == depth and generator.config.z_dim == 6
    z = latents(2, 6).float()
    state = {name: value.double() for name, value in content["g_ema"].items()}
    expected = images_of(state, mapping(state, z.double())).float()
    torch.testing.assert_close(generator(z, noise="fixed").images, expected, rtol=1e-4, atol=1e-4)


def test_a_converted_file_has_a_mean_latent_and_no_more_than_the_average(tmp_path: Path) -> None:
    content = random_checkpoint([8, 8], 8)
    mean = torch.arange(8.0, dtype=torch.float64)
    path = saved({"g_ema": content["g_ema"], "latent_avg": mean}, tmp_path / "converted.pt")
    model = read_foreign(path)
    assert model.notes == ["the file has no d: a discriminator for fine-tuning starts anew"]
    assert torch.equal(load_generator(path).mean_latent, mean)
    system, _ = load_system(path)
    for name, value in system.networks["generator"].state_dict().items():
        assert torch.equal(value, system.averages["ema_generator"].module.state_dict()[name])


def test_a_mean_latent_that_is_not_there_is_estimated_and_said(tmp_path: Path) -> None:
    content = random_checkpoint([8, 8], 8)
    path = saved(content, tmp_path / "trained.pt")
    assert "was estimated from 10,000 latents" in read_foreign(path).notes[0]
    source = torch.Generator().manual_seed(0)
    expected = mapping(content["g_ema"], torch.randn(10_000, 8, generator=source).double()).mean(dim=0)
    torch.testing.assert_close(load_generator(path).mean_latent, expected, rtol=1e-9, atol=1e-9)


def test_a_bare_generator_and_data_parallel_names(tmp_path: Path) -> None:
    content = random_checkpoint([8, 8], 8)
    bare = load_generator(saved(content["g_ema"], tmp_path / "bare.pt"))
    prefixed = {"g_ema": {f"module.{name}": value for name, value in content["g_ema"].items()}}
    parallel = load_generator(saved(prefixed, tmp_path / "parallel.pt"))
    z = latents(1, 8)
    assert torch.equal(bare(z, noise="fixed").images, parallel(z, noise="fixed").images)


def test_groups_are_those_of_the_file(tmp_path: Path) -> None:
    content = random_checkpoint([16, 16, 16], 8, groups=4)
    generator = load_generator(saved(content, tmp_path / "a.pt"))
    groups = generator(latents(1, 8)).groups
    assert list(groups) == ["8x8.up", "8x8.conv", "16x16.up", "16x16.conv"]
    for index, found in enumerate(groups.values()):
        assert torch.equal(found, content["g_ema"][f"convs.{index}.conv.cluster"].argmax(dim=0))


def altered(content: dict[str, Any], network: str, name: str, value: Tensor | None) -> dict[str, Any]:
    state = {key: tensor for key, tensor in content[network].items() if key != name or value is not None}
    return {**content, network: state if value is None else {**state, name: value}}


@pytest.mark.parametrize(
    ("network", "name", "value", "message"),
    [
        ("g_ema", "conv1.noise.weight", None, "g_ema has no conv1.noise.weight (1 of "),
        ("g", "to_rgb1.bias", None, "g has no to_rgb1.bias"),
        ("d", "final_linear.1.bias", None, "d has no final_linear.1.bias"),
        ("g_ema", "extra", torch.zeros(1), "g_ema holds extra, which this kind of model does not have"),
        ("g_ema", "to_rgb1.bias", torch.zeros(3), "to_rgb1.bias must have the shape (1, 3, 1, 1) beside the others, got (3,)"),
        ("g_ema", "convs.0.conv.blur.kernel", torch.ones(4, 4), "another resampling filter than [1, 3, 3, 1]"),
        ("g_ema", "style.1.bias", torch.full((8,), torch.nan), "style.1.bias holds numbers that are not finite"),
        ("g_ema", "style.1.bias", torch.zeros(8, dtype=torch.int64), "must hold floating-point numbers, got torch.int64"),
        ("d", "convs.1.conv2.1.weight", None, "d is for 4 px, the generator for 8 px"),
        ("g_ema", "conv1.conv.weight", torch.zeros(1, 4, 8, 3, 3), "channels wide at 4, 8, ... px"),
        ("g_ema", "convs.1.conv.weight", None, "1 convs and 8 mapping layers"),
        ("g_ema", "conv1.conv.weight", torch.zeros(3), "no conv1.conv.weight, or one of too few axes"),
    ],
)
def test_what_does_not_fit_together(network: str, name: str, value: Tensor | None, message: str, tmp_path: Path) -> None:
    path = saved(altered(random_checkpoint([8, 8], 8), network, name, value), tmp_path / "a.pt")
    with pytest.raises(InputError) as caught:
        load_generator(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mean", [torch.zeros(7), torch.full((8,), torch.inf), torch.zeros(8, dtype=torch.int32), 3.0])
def test_a_mean_latent_that_is_none(mean: Any, tmp_path: Path) -> None:
    path = saved({"g_ema": random_checkpoint([8, 8], 8)["g_ema"], "latent_avg": mean}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="latent_avg must"):
        load_generator(path)
