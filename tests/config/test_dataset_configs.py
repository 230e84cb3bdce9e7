"""Configurations of prepared sets: the paper's numbers, parameter counts known from the published code, and commands that
prepare what the configuration reads."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from sarigan.commands.prepare_data import parse_arguments
from sarigan.config import Config, load_config
from sarigan.runs.summary import data_summary, overfitting_warning
from sarigan.systems.system import count_parameters
from sarigan.training.precision import Precision
from sarigan.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml") if load_config(path).data.name == "lmdb")


def of(prefix: str) -> list[Config]:
    found = [load_config(FOLDER / name) for name in NAMES if name.startswith(prefix)]
    assert len(found) >= 4
    return found


@pytest.mark.parametrize(
    ("prefix", "resolution", "iterations"),
    [("lsun_cat_256", 256, 1_400_000), ("lsun_car_512", 512, 1_000_000), ("ffhq_1024", 1024, 781_250)],
)
def test_lengths_and_settings_of_the_paper(prefix: str, resolution: int, iterations: int) -> None:
    for config in of(prefix):
        assert config.generator.resolution == resolution
        assert config.training.batch_size == 32 and config.training.total_kimg * 1000 == 32 * iterations
        assert config.objective.r1_gamma == 10 and config.data.flip
        assert config.generator.channel_base == config.discriminator.channel_base == 8192
        assert config.training.ema_half_life_kimg == 10


def test_ablations_differ_in_one_thing() -> None:
    base = load_config(FOLDER / "lsun_cat_256_sarigan.yaml").to_dict()
    differences = {
        "sarigan_8_groups": {("generator", "grouping", "num_groups"): 8},
        "sarigan_32_groups": {("generator", "grouping", "num_groups"): 32},
        "sarigan_no_information": {("objective", "information_weight"): 0.0},
        "block_diagonal": {("generator", "grouping", "kind"): "block_diagonal"},
    }
    for name, changes in differences.items():
        expected = load_config(FOLDER / "lsun_cat_256_sarigan.yaml").to_dict()
        for path, value in changes.items():
            section = expected
            for key in path[:-1]:
                section = section[key]
            section[path[-1]] = value
        assert load_config(FOLDER / f"lsun_cat_256_{name}.yaml").to_dict() == expected != base


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        ("lsun_cat_256_sarigan", 25_199_290, 24_526_401),
        ("lsun_cat_256_stylegan2", 24_767_458, 24_001_089),
        ("ffhq_1024_sarigan", 25_367_740, 24_563_473),
        ("ffhq_1024_stylegan2", 24_900_764, 24_038_161),
        ("cats_64_sarigan", 24_209_320, 23_932_673),
    ],
)
def test_parameter_counts_of_the_published_code(name: str, generator: int, discriminator: int) -> None:
    """Up to ten scalars a grouped layer's threshold, which the paper's preset does not learn."""
    config = load_config(FOLDER / f"{name}.yaml")
    with torch.device("meta"):
        grouping = dataclasses.replace(config.generator.grouping, initial_threshold=0.25)
        config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, grouping=grouping))
        state = TrainingState(config, Precision(torch.device("meta"), "float32"))
    num_grouped = len([*state.system.generator.grouped_layers()])
    assert count_parameters(state.system.discriminator) == discriminator
    assert generator - num_grouped <= count_parameters(state.system.generator) <= generator


@pytest.mark.parametrize("name", NAMES)
def test_the_command_at_the_top_prepares_what_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(FOLDER / name)
    comment = "".join(
        line.removeprefix("#").strip() + " " for line in (FOLDER / name).read_text().splitlines() if line.startswith("#")
    )
    found = re.search(r"python (scripts/prepare_data\.py .*? --resolution [^#]*?)(?= where|$)", comment.replace("\\ ", ""))
    assert found is not None, comment
    command = shlex.split(found[1])
    assert (ROOT / command[0]).is_file()
    monkeypatch.setattr(sys, "argv", command)
    arguments = parse_arguments()
    assert str(arguments.destination) == config.data.path
    assert arguments.resolution == [config.generator.resolution]
    if name.startswith("lsun_car"):
        assert arguments.crop == "center_wide"
    documented = (ROOT / "docs" / "datasets.md").read_text().replace("\\\n", " ")
    assert " ".join(command) in re.sub(r"\s+", " ", documented)


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = data_summary(load_config(FOLDER / "lsun_cat_256_sarigan.yaml"))
    assert line == (
        "missing: datasets/lsun_cat_256: no such data set; prepare it with scripts/prepare_data.py"
        " (the command is at the top of its configuration and in docs/datasets.md)"
    )


def test_small_sets_that_are_trained_long_are_warned_of() -> None:
    def warning(num_images: int, kimg: float, *overrides: str) -> str | None:
        config = load_config(FOLDER / "avatars_64_sarigan.yaml", [f"training.total_kimg={kimg}", *overrides])
        return overfitting_warning(config, num_images)

    assert warning(12_497, 3000, "metrics.names=[]") == (
        "warning: 12,497 images are few for 3000 kimg, which show each 240 times: the discriminator may know them by heart once"
        " each was shown about 50 times, at 625 kimg; training.augmentation.name=ada puts it off (docs/small-data.md)"
    )
    judged = "metrics compare with these same images: metrics.data names a set kept apart"
    metrics = "metrics.names=[fd_efficientnet]"
    assert judged in (warning(12_497, 3000, metrics) or "")
    assert judged not in (warning(12_497, 3000, metrics, "metrics.data=elsewhere") or judged)
    assert "later with training.augmentation, which is on" in (warning(500, 1000, "training.augmentation.name=ada") or "")
    assert warning(12_497, 600) is None
    assert warning(20_000, 1_000_000) is None
    assert warning(19_999, 1_000)
