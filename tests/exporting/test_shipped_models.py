"""Models of the package by name: in every command that takes a checkpoint, and the files themselves where they are."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sarigan.exporting.shipped
from sarigan import load_generator, pretrained
from sarigan.errors import InputError
from sarigan.exporting.model_card import CARD_NAME, origin_of, without_folders
from sarigan.exporting.safetensors_export import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    load_discriminator_weights,
    load_exported,
    load_exported_and_origin,
    save_exported,
)
from sarigan.exporting.shipped import SHIPPED, SHIPPED_FOLDER
from sarigan.exporting.source import find_source
from sarigan.files.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from sarigan.models.generator import Generator
from sarigan.pretrained import data_name, load_generator_and_record, results_folder

Build = Callable[..., Any]
NAME = "avatars_32"
MAX_BYTES = 6_000_000
Main = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def checkpoint(tiny_config: Build, tiny_state: Build, tmp_path: Path) -> Path:
    """Of a tiny generator of avatars that was not trained."""
    sizes = ("generator.resolution=32", "generator.channel_base=128", "discriminator.channel_base=128")
    state = tiny_state(tiny_config("data.name=avatars", "data.num_images=24", *sizes))
    state.system.prepare_to_save()
    path = checkpoint_path(tmp_path / "run" / "checkpoints", 3)
    save_checkpoint(state.state_dict(), path)
    return path


@pytest.fixture
def shipped(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint, exported to where a tiny package has its model; the working directory is empty."""
    folder = tmp_path / "shipped" / NAME
    generator, record = load_generator_and_record(checkpoint)
    save_exported(generator, folder, origin_of(checkpoint, record), half=True)
    monkeypatch.setattr(sarigan.exporting.shipped, "SHIPPED_FOLDER", folder.parent)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """main(command, arguments...) -> exit code, stdout, lines of stderr."""

    def run(command: str, *arguments: Any) -> tuple[int, str, list[str]]:
        module = importlib.import_module(f"sarigan.commands.{command}")
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            module.main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_a_name_means_the_model_unless_a_path_of_that_name_is_there(shipped: Path, checkpoint: Path) -> None:
    assert (
        find_source(NAME) == find_source(Path(NAME)) == find_source(shipped) == find_source(shipped / WEIGHTS_NAME) == shipped
    )
    assert find_source(checkpoint.parents[1]) == find_source(checkpoint) == checkpoint
    generator, record = load_generator_and_record(NAME)
    z = torch.randn(2, 8)
    images = [found(z, noise="fixed").images for found in (generator, load_generator(checkpoint), load_exported(shipped))]
    torch.testing.assert_close(images[0], images[2])
    assert 0 < (images[0] - images[1]).abs().max() < 0.05
    assert data_name(record) == "avatars" and record["checkpoint"] == checkpoint.name
    Path(NAME).symlink_to(checkpoint.parents[1])
    assert find_source(NAME) == Path(NAME) / "checkpoints" / checkpoint.name


def test_results_do_not_go_into_the_package(shipped: Path, checkpoint: Path) -> None:
    assert results_folder(NAME) == Path("out") / NAME and results_folder(shipped) == shipped
    assert results_folder(checkpoint) == results_folder(checkpoint.parents[1]) == checkpoint.parents[1]


def test_another_format_is_a_line_of_the_table(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate` and `export` ask for no more than the generator and an empty record."""
    file = tmp_path / "other.pkl"
    file.write_bytes(b"theirs")
    foreign = (lambda path: path.suffix == ".pkl", lambda path, device: (load_exported(shipped, device), {}))
    monkeypatch.setattr(pretrained, "FORMATS", [*pretrained.FORMATS, foreign])
    assert isinstance(load_generator(file), Generator) and data_name({}) is None
    judged, config = pretrained.load_judged(file)
    assert list(judged) == ["generator"] and config is None


@pytest.mark.parametrize(
    ("command", "arguments", "file"),
    [
        ("generate", [NAME, "--seeds", "0,1", "--output", "o"], "o/grid.png"),
        ("edit_groups", [NAME, "--layer", "8x8.up", "--seeds", "0", "--output", "o"], "o/8x8.up_z_seed1.png"),
        ("style_mixing", [NAME, "--rows", "0", "--columns", "1", "--layers", "coarse", "--output", "o"], "o/coarse.png"),
        ("attention_maps", [NAME, "--layers", "8x8.up", "--seeds", "0", "--parts", "none", "--output", "o"], "o/8x8.up.png"),
        ("group_locality", [NAME, "--layer", "8x8.up", "--images", "2", "--permutations", "2", "--partitions", "2"],
         f"out/{NAME}/analysis/locality-8x8.up.json"),
        ("evaluate", ["--checkpoint", NAME, "--metrics", "groups", "--stability-checkpoint", NAME, "--no-cache"],
         f"out/{NAME}/evaluation/{NAME}-*.json"),
        ("export", [NAME, "o", "--half", "--grid"], "o/grid.png"),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)  # fmt: skip
def test_every_command_takes_the_name(main: Main, shipped: Path, command: str, arguments: list[str], file: str) -> None:
    code, output, errors = main(command, *arguments)
    assert code == 0, errors
    assert len(list(Path().glob(file))) == 1 and sorted(path.name for path in shipped.iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]


def test_an_export_takes_the_discriminator_along(main: Main, shipped: Path, checkpoint: Path) -> None:
    """Of a checkpoint, and of an export that holds one; a source that holds none is told apart."""
    assert main("export", str(checkpoint), "a", "--discriminator")[0] == 0
    assert main("export", "a", "b", "--discriminator", "--half")[0] == 0
    there = load_checkpoint(checkpoint)["discriminator"]
    for folder in ("a", "b"):
        found = load_discriminator_weights(folder)
        assert found is not None and found.keys() == there.keys()
        rounded = {name: value.half().float() if folder == "b" else value for name, value in there.items()}
        assert all(torch.equal(value, rounded[name]) for name, value in found.items())
    assert load_discriminator_weights(shipped) is None
    code, _, errors = main("export", NAME, "c", "--discriminator")
    assert code == 2 and errors == [f"error: {shipped}: holds no discriminator; export without --discriminator"]
    save_checkpoint({**load_checkpoint(checkpoint), "imported": {"missing": ["discriminator"]}}, Path("imported.pt"))
    code, _, errors = main("export", "imported.pt", "c", "--discriminator")
    assert code == 2 and errors == ["error: imported.pt: holds no discriminator; export without --discriminator"]


def test_evaluation_knows_the_data_of_training(main: Main, shipped: Path, checkpoint: Path) -> None:
    """As for the checkpoint; without a configuration the data have to be named."""
    files = [shipped, checkpoint]
    configs = [pretrained.load_judged(file)[1] for file in files]
    assert configs[0] is not None and configs[0] == configs[1]
    description = json.loads((shipped / CONFIG_NAME).read_text())
    (shipped / CONFIG_NAME).write_text(json.dumps({**description, "origin": {"seen_kimg": 1.0}}))
    options = ["--checkpoint", NAME, "--num-images", "8", "--no-cache"]
    assert main("evaluate", *options, "--metrics", "fd_efficientnet")[0::2] == (
        2, ["error: fd_efficientnet needs a data set to compare with (--data)"],
    )  # fmt: skip
    code, _, errors = main("evaluate", *options, "--metrics", "information", "--data", "avatars")
    assert code == 2 and errors[-1].startswith("error: information needs the discriminator's Q head; an export holds")


def test_a_model_is_no_run(main: Main, shipped: Path, checkpoint: Path) -> None:
    for command, name in (("report", NAME), ("report", shipped), ("compare", NAME)):
        arguments = (name, checkpoint.parent.parent) if command == "compare" else (name,)
        line = f"error: {name} is a model, not a run: it has no log; generate, edit_groups, attention_maps and semantics take"
        assert main(command, *arguments) == (2, "", [f"{line} models"])
    Path(NAME).mkdir()  # a run directory of this name comes first
    assert main("report", NAME)[2] == [f"error: {NAME}: not a run directory (no config.yaml)"]


@pytest.mark.parametrize("command", ["generate", "attention_maps", "export", "project"])
def test_an_unknown_name_gives_the_list(main: Main, shipped: Path, command: str) -> None:
    arguments = {"export": ["faces_64", "o"], "project": ["faces_64", "photo.png"]}.get(command, ["faces_64"])
    line = (
        "error: faces_64: does not exist; give a checkpoint file, a run directory, the folder of an export, or a model of the"
    )
    code, _, errors = main(command, *arguments)
    assert code == 2 and errors == [f"{line} package: {', '.join(SHIPPED)}"]


@pytest.mark.parametrize("missing", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_package_without_the_weights_is_one_line(main: Main, shipped: Path, missing: str) -> None:
    (shipped / missing).unlink()
    code, _, errors = main("generate", NAME)
    assert code == 2 and errors == [
        f"error: {NAME}: this installation of sarigan has no weights of it (no {shipped / missing}); install the package whole,"
        " or give a run directory of your own"
    ]


def test_a_damaged_origin_is_one_line(main: Main, shipped: Path) -> None:
    description = json.loads((shipped / CONFIG_NAME).read_text())
    for origin in (3, {"config": 3}, {"config": {"data": {"name": 3}}}, {"config": {"data": 3}, "results": 3}):
        (shipped / CONFIG_NAME).write_text(json.dumps({**description, "origin": origin}))
        for command in (["export", NAME, "o"], ["evaluate", "--checkpoint", NAME, "--metrics", "groups"]):
            code, _, errors = main(*command)
            assert code == 2 and len(errors) == 1 and errors[0].startswith(f"error: {shipped}"), errors
        load_generator(NAME) if isinstance(origin, dict) else None
    with pytest.raises(InputError):
        (shipped / CONFIG_NAME).write_text(json.dumps({**description, "origin": [[1]]}))
        load_generator(NAME)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_of_the_package(name: str) -> None:
    folder = SHIPPED_FOLDER / name
    if not (folder / WEIGHTS_NAME).is_file():
        pytest.skip(f"the weights of {name} are not in this checkout ({folder})")
    assert (folder / WEIGHTS_NAME).stat().st_size <= MAX_BYTES
    generator, origin = load_exported_and_origin(folder)
    size = generator.config.resolution
    assert name.endswith(f"_{size}") and data_name(origin) == "avatars" and without_folders(origin) == origin
    images = generator(torch.randn(4, generator.config.z_dim), truncation_psi=0.7).images
    assert images.shape == (4, 3, size, size) and 0.2 < images.std() < 1.5
    card = (folder / CARD_NAME).read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and f'from_pretrained("{name}")' in card
