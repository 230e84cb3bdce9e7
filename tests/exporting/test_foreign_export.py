"""Out to other people's layouts and in again: bit-identical; and what their code would compute from what is written."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_networks import images_of, judged, mapping, random_checkpoint

from sarigan.commands import main
from sarigan.config import load_config
from sarigan.errors import InputError
from sarigan.exporting.foreign_export import FORMATS, rosinality_state, save_foreign
from sarigan.files.checkpoint import save_checkpoint
from sarigan.importing.foreign_file import read_foreign
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator
from sarigan.pretrained import load_system
from sarigan.systems.style.system import StyleConfig
from sarigan.training.precision import Precision
from sarigan.training.state import TrainingState

NETWORKS = ("ema_generator", "generator", "discriminator")


def weights(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    system, _ = load_system(path)
    return {name: module.state_dict() for name, module in system.modules().items()}


def exported(source: Path, kind: str, path: Path) -> Path:
    system, config = load_system(source)
    assert isinstance(config, StyleConfig)
    networks = system.averages["ema_generator"].module, system.networks["generator"], system.networks["discriminator"]
    state, _ = FORMATS[kind](*networks, config.discriminator)
    save_foreign(state, path)
    return path


@pytest.mark.parametrize(("groups", "kind"), [(0, "rosinality"), (0, "nvidia_state"), (3, "rosinality")])
def test_import_export_import_is_bit_identical(groups: int, kind: str, tmp_path: Path) -> None:
    first = tmp_path / "first.pt"
    torch.save(random_checkpoint([8, 8, 8], 8, 3, groups, dtype=torch.float32), first)
    second = exported(first, kind, tmp_path / "second.pt")
    before, after = weights(first), weights(second)
    assert set(before) == set(NETWORKS)
    for network, tensors in before.items():
        assert tensors.keys() == after[network].keys()
        assert all(torch.equal(value, after[network][name]) for name, value in tensors.items()), network
    assert load_system(first)[1] == load_system(second)[1]


def test_rosinality_again_has_the_tensors_of_the_file(tmp_path: Path) -> None:
    content = random_checkpoint([8, 8, 8], 8, 3, 3)
    torch.save(content, tmp_path / "a.pt")
    state = torch.load(exported(tmp_path / "a.pt", "rosinality", tmp_path / "b.pt"), weights_only=True)
    for network in ("g", "g_ema", "d"):
        assert state[network].keys() == content[network].keys()
        for name, value in content[network].items():
            torch.testing.assert_close(state[network][name].to(value.dtype), value, rtol=0, atol=0)


def trained_like(*overrides: str) -> tuple[TrainingState, StyleConfig]:
    """A small system of this project in float64, its noise and groups not those of the start."""
    small = [
        "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
        "generator.channel_base=64", "generator.channel_max=8", "discriminator.channel_base=64", "discriminator.channel_max=8",
        "generator.grouping.num_groups=3",
    ]  # fmt: skip
    config = load_config(None, [*small, *overrides])
    assert isinstance(config, StyleConfig)
    state = TrainingState(config, Precision(torch.device("cpu"), "float64"))
    with torch.no_grad():
        for module in state.system.modules().values():
            for name, parameter in module.named_parameters():
                if name.endswith(("strength", "bias")):
                    parameter.normal_(0.3)
    state.system.prepare_to_save()
    return state, config


STYLEGAN2 = ("generator.grouping.kind=none", "objective.information_weight=0")
RELEASE = ("generator.grouping.assignment=round", "generator.grouping.empty_group=release")


@pytest.mark.parametrize(
    "overrides",
    [
        STYLEGAN2, (*STYLEGAN2, "generator.noise=false"), (*RELEASE, "generator.grouping.threshold=learned"), RELEASE,
    ],
    ids=["stylegan2", "without-noise", "release", "release-without-learned-threshold"],
)
def test_their_code_would_make_the_same_images(overrides: tuple[str, ...]) -> None:
    """By the slow networks, which know their names alone; fixed noise becomes their noise buffers."""
    state, config = trained_like(*overrides)
    modules = state.system.modules()
    average, discriminator = modules["ema_generator"], modules["discriminator"]
    assert isinstance(average, Generator) and isinstance(discriminator, Discriminator)
    found, _ = rosinality_state(average, modules["generator"], discriminator, config.discriminator)
    z = torch.randn(3, 8, dtype=torch.float64)
    images = average(z, noise="fixed").images
    torch.testing.assert_close(images_of(found["g_ema"], mapping(found["g_ema"], z)), images, rtol=1e-9, atol=1e-9)
    output = discriminator(images)
    logits, codes = judged(found["d"], images)
    torch.testing.assert_close(logits, output.logits, rtol=1e-9, atol=1e-9)
    assert (codes is None) == (output.codes is None)
    if codes is not None:
        torch.testing.assert_close(codes, output.codes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "overrides", "part"),
    [
        ("rosinality", ["generator.grouping.kind=contiguous"], "learned groups in the weight form"),
        ("rosinality", ["generator.form=activation"], "learned groups in the weight form"),
        ("rosinality", ["generator.grouping.max_group_share=0.25"], "as many groups in every layer|"),
        ("rosinality", ["generator.z_dim=9"], "z and w of one size"),
        ("rosinality", ["generator.synthesis=adain", *STYLEGAN2], "a StyleGAN"),
        ("nvidia_state", [], "NVIDIA's code has no groups"),
    ],
)
def test_what_their_code_does_not_have(kind: str, overrides: list[str], part: str) -> None:
    state, config = trained_like(*overrides)
    modules = state.system.modules()
    networks = modules["ema_generator"], modules["generator"], modules["discriminator"]
    if part.endswith("|"):  # 16 px have layers of one width; at 32 px they differ
        state, config = trained_like(*overrides, "generator.resolution=32", "generator.channel_max=16")
        networks = tuple(state.system.modules()[name] for name in NETWORKS)
    with pytest.raises(InputError, match=part.rstrip("|")):
        FORMATS[kind](*networks, config.discriminator)


def test_what_is_lost_is_said() -> None:
    state, config = trained_like()
    modules = state.system.modules()
    networks = modules["ema_generator"], modules["generator"], modules["discriminator"]
    _, notes = rosinality_state(*networks, dataclasses.replace(config.discriminator, minibatch_stddev_group=8))
    assert len(notes) == 3
    assert "widths" in notes[0] and "empty groups act on all channels" in notes[1] and "groups of 4, not 8" in notes[2]
    without = Discriminator(config.discriminator, 16)
    found, notes = rosinality_state(networks[0], networks[1], without, config.discriminator)
    assert "d" not in found and "without the discriminator" in notes[-1]


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sarigan", *map(str, arguments)])
        main()


def test_the_command(tiny_config: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(*STYLEGAN2, "generator.grouping.threshold=quantile")
    source = tmp_path / "checkpoint-00000000.pt"
    save_checkpoint(TrainingState(config, Precision(torch.device("cpu"), "float32")).state_dict(), source)
    for kind in FORMATS:
        run("export", source, tmp_path / f"{kind}.pt", "--format", kind)
        assert read_foreign(tmp_path / f"{kind}.pt").generator_config == dataclasses.replace(
            config.generator, stored_noise=True, grouping=GroupingConfig(kind="none")
        )
    capsys.readouterr()
    refused = {
        (source, tmp_path, "--format", "rosinality"): f"{tmp_path}: cannot write there (Is a directory); name another",
        (source, tmp_path / "x", "--format", "rosinality", "--onnx"): "--onnx goes with --format safetensors, got --format",
        (source, tmp_path / "x", "--format", "nvidia_state", "--half"): "--half goes with --format safetensors, got --format",
    }
    for arguments, part in refused.items():
        with pytest.raises(SystemExit) as ended:
            run("export", *arguments)
        assert ended.value.code == 2 and part in capsys.readouterr().err


def test_an_imported_model_is_shared_with_its_licence_and_exports_are_written(tmp_path: Path) -> None:
    torch.save(random_checkpoint([8, 8, 8], 8, 3, dtype=torch.float32), tmp_path / "first.pt")
    run("export", tmp_path / "first.pt", tmp_path / "shared")
    assert "Licence of the weights: weights converted from NVIDIA's keep" in (tmp_path / "shared/README.md").read_text()
    run("export", tmp_path / "shared", tmp_path / "second.pt", "--format", "rosinality")
    before, after = (read_foreign(tmp_path / name).average for name in ("first.pt", "second.pt"))
    after.pop("mean_latent")
    assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())
