"""Which file is what, the import command, and what an imported model can do."""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_networks import random_checkpoint

from sarigan import load_generator
from sarigan.commands import main
from sarigan.config import load_config
from sarigan.errors import InputError
from sarigan.files.checkpoint import load_checkpoint, save_checkpoint
from sarigan.importing.foreign_file import read_foreign
from sarigan.layers.intervention import Intervention


def run(*arguments: object) -> None:
    """A command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sarigan", *map(str, arguments)])
        main()


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


TENSOR = torch.zeros(2)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not a readable model"),
        (b"a text\n" * 100, "not a readable model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a readable model"),
        (b"PK\x03\x04" + bytes(100), "not a readable model"),
        (b"\x80\x03cdnnlib.tflib.network\nNetwork\n.", "a TensorFlow pickle of StyleGAN or StyleGAN2"),
        (b"\x80\x03ctensorflow.python\nx\n.", "a TensorFlow model"),
        (b"\x80\x04}.", "no model that is known here"),
        (b"\x80\x04N.", "no model that is known here"),
        ({"g_running": {"a": TENSOR}}, "rosinality/style-based-gan-pytorch"),
        ({"shared.weight": TENSOR, "linear.weight": TENSOR}, "a generator of BigGAN-PyTorch"),
        ({"latent_avg": TENSOR, "state_dict": {}, "opts": {}}, "an encoder such as pSp or e4e"),
        ({"format_version": 2}, "a checkpoint of this project, which needs no import"),
        ({"state_dict": {"a": TENSOR}}, "no model that is known here"),
        ({"g_ema": {"a": TENSOR}}, "g_ema has 0 convs and 0 mapping layers"),
        ({"g_ema": {"a": 3}}, "no model that is known here"),
    ],
)
def test_what_is_no_model_is_named(content: Any, part: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError) as caught:
        read_foreign(path)
    assert part in str(caught.value) and str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_folders_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; a checkpoint of rosinality"):
        read_foreign(tmp_path)
    with pytest.raises(InputError, match="does not exist; a checkpoint of rosinality"):
        read_foreign(tmp_path / "none.pkl")


def test_checkpoints_of_this_project_are_read_as_before(tmp_path: Path) -> None:
    """Damaged, unsealed or newer ones are still told as such."""
    path = tmp_path / "checkpoint-00000001.pt"
    save_checkpoint({"config": {}}, path)
    assert load_checkpoint(path)["config"] == {}
    for content, part in (
        (path.read_bytes()[:-3], "checkpoint, truncated or damaged"),
        (b"text", "checkpoint, truncated or damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=part):
            load_generator(path)
    torch.save({"format_version": 99}, path)
    with pytest.raises(InputError, match="checkpoint format 99"):
        load_generator(path)


@pytest.fixture(scope="module")
def release_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = random_checkpoint([8, 8, 8, 8], 8, 2, groups=3, dtype=torch.float32)
    return saved(content, tmp_path_factory.mktemp("release") / "release.pt")


@pytest.fixture(scope="module")
def imported(release_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory that the command made, with a setting of its own."""
    folder = tmp_path_factory.mktemp("imported") / "run"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run("import", release_file, folder, "data.num_images=40")
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"{release_file}: checkpoint of SariGAN's release; SariGAN, similarity groups, 32 px, 3 groups"
    assert lines[1].startswith("note: the file has no latent_avg")
    assert lines[2].startswith("note: licence: SariGAN's release states no licence")
    return folder


def test_the_command_makes_a_run_directory(imported: Path, release_file: Path) -> None:
    config = load_config(imported / "config.yaml")
    assert config.data.num_images == 40 and config.objective.information_weight == 20.0
    assert config.generator.grouping.assignment == "round" and config.generator.grouping.empty_group == "release"
    by_run, by_file = load_generator(imported), load_generator(release_file)
    z = torch.randn(2, 8)
    assert torch.equal(by_run(z, noise="fixed").images, by_file(z, noise="fixed").images)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["{file}", "{run}"], "has checkpoints already; give a new directory"),
        (["{file}", "{new}", "generator.colour=3"], "colour"),
        (["{file}", "{new}", "generator.style_dim=9"], "not a readable model with these settings"),
        (["{new}/no.pt", "{new}"], "does not exist"),
        (["{file}", "{file}"], "cannot write there"),
    ],
)
def test_what_the_command_refuses(
    arguments: Sequence[str], part: str, imported: Path, release_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    with pytest.raises(SystemExit) as ended:
        run("import", *(a.format(file=release_file, run=imported, new=new) for a in arguments))
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "") and part in printed.err, printed.err
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and not new.exists()


def test_commands_take_an_imported_model(imported: Path, release_file: Path, tmp_path: Path) -> None:
    def to(name: str) -> tuple[object, ...]:
        return "--device", "cpu", "--output", tmp_path / name

    run("generate", release_file, "--seeds", "0-3", "--noise", "fixed", *to("samples"))
    run("style_mixing", release_file, "--layers", "coarse", "--rows", "0,1", "--columns", "2,3", *to("mixing"))
    run("project", release_file, next((tmp_path / "samples/images").iterdir()), "--steps", "2", *to("projected"))
    run("report", imported, "--device", "cpu")
    run("evaluate", "--checkpoint", imported, "--metrics", "information,groups", "--num-images", "8", *to("e.json"))
    assert (imported / "report.html").is_file() and (tmp_path / "e.json").is_file()


def test_groups_of_an_imported_model_can_be_edited(imported: Path) -> None:
    generator = load_generator(imported)
    z = torch.randn(1, 8)
    group = int(generator(z).groups["8x8.conv"][0])
    plain = generator(z, noise="fixed").images
    edited = generator(z, noise="fixed", interventions=[Intervention("8x8.conv", group, "h", "scale", 2.0)]).images
    assert not torch.allclose(plain, edited)
