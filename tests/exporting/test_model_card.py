"""The model card and the origin of an export: what a run tells, and nothing of the machine's folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sarigan.exporting.model_card import CARD_NAME, origin_of, without_folders, write_model_card
from sarigan.exporting.safetensors_export import load_exported_and_origin, save_exported
from sarigan.files.checkpoint import checkpoint_path
from sarigan.models.generator import Generator
from sarigan.training.state import TrainingState

Build = Callable[..., Any]


@pytest.fixture
def state(tiny_config: Build, tiny_state: Build) -> TrainingState:
    found = tiny_state(tiny_config("data.name=folder", "data.path=/home/someone/photos.zip"))
    found.step, found.seconds = 5, 7200.0
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What training and evaluation leave beside checkpoints: of step 5 (40 images) and of step 4."""
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    command = ["/home/someone/scripts/train.py", "--config", "configs/mine.yaml", "data.path=/home/someone/photos.zip"]
    (folder / "environment.json").write_text(json.dumps({"command": command, "commit": "abc123", "python": "3.11"}))
    for name, value in {
        "000000040": 11.5,
        "checkpoint-00000005-x": 22.5,
        "000000032": 33.5,
        "checkpoint-00000004-x": 44.5,
    }.items():
        result = {
            "name": "fd_efficientnet",
            "value": value,
            "protocol": "a|b",
            "num_images": 7,
            "data": "/home/someone/photos.zip",
        }
        (folder / "evaluation" / f"{name}.json").write_text(json.dumps({"results": [result, 3]}))
    return folder


def generator_of(state: TrainingState) -> Generator:
    return state.system.average.module


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/a/b/c.yaml", "c.yaml"),
        ("/a/b/", "b/"),
        ("data.path=/a/b.zip", "data.path=b.zip"),
        ("cd ~/x/y && ls '/p/q'", "cd y && ls 'q'"),
        ("scripts/train.py", "scripts/train.py"),
        ("a / b, 3/4", "a / b, 3/4"),
        ("https://a.org/b/c", "https://a.org/b/c"),
        ({"a": ["/x/y", 3, None]}, {"a": ["y", 3, None]}),
    ],
)
def test_of_an_absolute_path_the_last_part_stays(text: Any, kept: Any) -> None:
    assert without_folders(text) == kept


def test_origin_tells_of_this_checkpoint_alone(state: TrainingState, run: Path) -> None:
    origin = origin_of(checkpoint_path(run / "checkpoints", 5), state.state_dict())
    assert (origin["checkpoint"], origin["step"], origin["seen_kimg"]) == ("checkpoint-00000005.pt", 5, 0.04)
    assert [result["value"] for result in origin["results"]] == [11.5, 22.5]
    assert origin["config"]["data"]["path"] == "photos.zip" and "someone" not in json.dumps(origin)


def test_card(state: TrainingState, run: Path, tmp_path: Path) -> None:
    folder, generator = tmp_path / "faces", generator_of(state)
    origin = origin_of(checkpoint_path(run / "checkpoints", 5), state.state_dict())
    save_exported(generator, folder, origin)
    write_model_card(folder, generator, origin, "SariGAN", "mit", "Faces look to the left.", "grid.png")
    card = (folder / CARD_NAME).read_text()
    assert card.startswith("---\nlicense: mit\nlibrary_name: sarigan\n")
    count = sum(value.numel() for value in generator.parameters())
    for part in (
        "# faces", "8x8 pixels", "](grid.png)", 'from_pretrained("path/to/faces")', "torch.randn(4, 8)", "[4,3,8,8]",
        "| data | folder photos.zip |", "| images seen | 0.0 thousand, batch 8 |", "| training time | 2.0 hours |",
        "| code | commit abc123 |", "| command | `train.py --config configs/mine.yaml data.path=photos.zip` |",
        f"| parameters | {count:,} |", "| weights | as trained |", "| fd_efficientnet | 11.5 | 7 | photos.zip |",
        r"a\|b", "are no FID", "- Faces look to the left.", "## Licence\n\nmit\n", '"resolution": 8',
    ):  # fmt: skip
        assert part in card, part
    assert "44.5" not in card and "someone" not in card and "program" not in card
    # An export of the export tells the same.
    other = tmp_path / "again" / "faces"
    again, told = load_exported_and_origin(folder)
    assert origin_of(folder, told) == origin
    save_exported(again, other, told)
    write_model_card(other, again, told, "SariGAN", "mit", "Faces look to the left.", "grid.png")
    assert (other / CARD_NAME).read_text() == card


@pytest.mark.parametrize(("noise", "takes"), [("true", "a latent z and noise"), ("false", "a latent z")])
def test_limits_say_what_the_model_takes(tiny_config: Build, tiny_state: Build, tmp_path: Path, noise: str, takes: str) -> None:
    write_model_card(tmp_path, generator_of(tiny_state(tiny_config(f"generator.noise={noise}"))), {}, "SariGAN")
    assert f"- It takes {takes}: no label, text or picture." in (tmp_path / CARD_NAME).read_text()


def test_what_is_not_known_is_left_out(state: TrainingState, tmp_path: Path) -> None:
    """The export of an older version, a file of another make, a checkpoint without its run directory."""
    generator, bare = generator_of(state), checkpoint_path(tmp_path / "elsewhere", 5)
    for origin in (
        {},
        {"checkpoint": "x.pt", "seen_kimg": 3.0},
        origin_of(bare, {"G": 3}),
        origin_of(bare, state.state_dict()),
    ):
        write_model_card(tmp_path, generator, origin, "SariGAN")
        card = (tmp_path / CARD_NAME).read_text()
        assert "license:" not in card and "Not stated" in card and "None of this checkpoint" in card
        assert ("## Configuration" in card) == ("config" in origin) == ("training time" in card)
    assert origin_of(bare, {"G": 3}) == {"checkpoint": "checkpoint-00000005.pt"}
