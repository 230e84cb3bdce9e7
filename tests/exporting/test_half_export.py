"""Exports of float16: groups stay exactly, everything else within the rounding of float16, float32 in memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sarigan.errors import InputError
from sarigan.exporting.rounding import measure_rounding
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME, half_weights, load_exported, save_exported
from sarigan.models.generator import Generator

Build = Callable[..., Any]


@pytest.fixture
def generator(tiny_config: Build, tiny_state: Build) -> Generator:
    """With two logits that float16 makes equal, and the second the larger: rounded, the first would win."""
    found = tiny_state(tiny_config("generator.resolution=16")).system.average.module
    found.update_mean_latent(100)
    with torch.no_grad():
        for layer in found.grouped_layers():
            layer.grouping.logits[:, :2] = torch.tensor([3.0, 3.00001])
    return found


def test_weights_are_rounded_and_groups_are_not(generator: Generator, tmp_path: Path) -> None:
    save_exported(generator, tmp_path, {}, half=True)
    stored, loaded = load_file(tmp_path / WEIGHTS_NAME), load_exported(tmp_path)
    for name, value in generator.state_dict().items():
        exact, found = value.numpy(), loaded.state_dict()[name]
        assert found.dtype == torch.float32
        if ".grouping." in name:
            assert stored[name].dtype == np.float32 and np.array_equal(found.numpy(), exact)
        else:  # NumPy rounds to even as well
            assert stored[name].dtype == np.float16 and np.array_equal(
                found.numpy(), exact.astype(np.float16).astype(np.float32)
            )
    assert json.loads((tmp_path / CONFIG_NAME).read_text())["export_version"] == 2
    z = torch.randn(4, 8)
    exact, near = generator(z, noise="fixed"), loaded(z, noise="fixed")
    assert all(torch.equal(groups, near.groups[name]) for name, groups in exact.groups.items())
    assert any(bool((groups == 1).any()) for groups in exact.groups.values())
    assert 0 < (exact.images - near.images).abs().max() < 0.05


def test_exports_as_trained_stay_of_version_1(generator: Generator, tmp_path: Path) -> None:
    """Earlier versions read them."""
    save_exported(generator, tmp_path, {})
    assert json.loads((tmp_path / CONFIG_NAME).read_text())["export_version"] == 1
    assert {value.dtype for value in load_file(tmp_path / WEIGHTS_NAME).values()} == {np.dtype(np.float32)}


def test_rounding_is_measured(generator: Generator) -> None:
    """Against a loop over images; the same weights differ by rounding of sums alone; lost groups are seen."""
    found = measure_rounding(generator, half_weights(generator), num_images=5, batch_size=2)
    rounded = {name: value.float() for name, value in half_weights(generator).items()}
    other = Generator.from_weights(generator.config, rounded, "cpu")
    differences = []
    for z in torch.randn(5, 8, generator=torch.Generator().manual_seed(0)):
        images = [network(z[None], noise="fixed").images.double().clamp(-1, 1) for network in (generator, other)]
        differences.append((images[0] - images[1]).abs() * 255 / 2)
    assert found.largest == pytest.approx(float(torch.stack(differences).max()), rel=1e-2) and found.largest > 0
    assert found.mean == pytest.approx(float(torch.stack(differences).mean()), rel=1e-2) and found.same_groups
    same = measure_rounding(generator, generator.state_dict(), num_images=2)
    assert same.largest < 1e-2 and same.same_groups  # grey levels: sums in another order
    everything = {name: value.half() for name, value in generator.state_dict().items()}
    assert not measure_rounding(generator, everything, num_images=2).same_groups


def test_a_weight_beyond_float16_is_refused(generator: Generator, tmp_path: Path) -> None:
    with torch.no_grad():
        generator.mapping.layers[0].weight[0, 0] = 70_000.0
    with pytest.raises(InputError, match="reaches 70000, float16 ends at 65504; export without --half"):
        save_exported(generator, tmp_path / "x", {}, half=True)
    assert not (tmp_path / "x").exists()
