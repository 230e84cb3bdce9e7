"""Every YAML of configs/ loads and passes a dry run; the presets say what docs/reproduction.md says."""

import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch

from sarigan.config import Config, load_config
from sarigan.data.loader import open_dataset
from sarigan.runs.summary import data_summary, dry_run_report
from sarigan.training.precision import Precision, resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

FOLDER = Path(__file__).resolve().parents[2] / "configs"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
CPU = ["training.device=cpu", "training.precision=float32"]


def test_there_are_configurations() -> None:
    assert "quickstart.yaml" in NAMES and len(NAMES) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_dry_run(name: str) -> None:
    config = load_config(FOLDER / name, CPU)
    if config.data.name in ("folder", "picture"):
        pytest.skip("needs images of the user's")
    data = data_summary(config)
    # As scripts/train.py --dry-run does, except that weights are not drawn: they are counted, not used.
    generator = config.generator
    with torch.device("meta"):
        if any(field.name == "grouping" for field in dataclasses.fields(generator)):
            start = {"initial_threshold": generator.grouping.initial_threshold or 0.25}
            generator = dataclasses.replace(generator, grouping=dataclasses.replace(generator.grouping, **start))
        precision = Precision(torch.device("meta"), "float32")
        state = TrainingState(dataclasses.replace(config, generator=generator), precision)
    report = dry_run_report(config, state, data)
    assert f"resolution: {config.generator.resolution}" in report and f"\ndata: {data}\n" in report
    if config.data.name == "lmdb":
        assert data.startswith(f"missing: {config.data.path}: no such data set; prepare it with ")
    for network in state.system.networks.values():
        assert f"{sum(p.numel() for p in network.parameters()):,}" in report


@pytest.mark.parametrize("name", NAMES)
def test_resolved_yaml_is_the_same_configuration(name: str, tmp_path: Path) -> None:
    config = load_config(FOLDER / name)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


@pytest.mark.parametrize("name", NAMES)
def test_first_lines_say_what_to_expect(name: str) -> None:
    """Time, memory, machine and score, and where the figures are from."""
    lines = (FOLDER / name).read_text().splitlines()
    comment = " ".join(line.removeprefix("#").strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
    expected = comment[comment.index("Expect") :]
    for what in (
        r"\d+ (minutes|hours|days)|hour of",
        r"\d (GB|GiB)",
        r"GPU|core|CPU",
        r"FID|fd_|kid_|IoU|PSNR|score",
        r"estimate|measured|Measured|timed|on 2 cores",
    ):
        assert re.search(what, expected), f"{what} is not in: {expected}"


SMALL = {"avatars_32_classes_sarigan.yaml"}  # as quickstart.yaml: what a small, short run needs, not the preset


def preset(suffix: str) -> list[Config]:
    found = [load_config(FOLDER / name) for name in NAMES if name.endswith(suffix) and name not in SMALL]
    found = [config for config in found if config.system == "style"]
    assert found
    return found


def test_paper_preset() -> None:
    for config in preset("_sarigan.yaml"):
        grouping, objective = config.generator.grouping, config.objective
        assert (grouping.kind, grouping.step, grouping.threshold, grouping.loss_reduction) == (
            "similarity", "hard", "quantile", "mean"
        )  # fmt: skip
        assert (objective.grouping_weight, objective.information_weight) == (2, 10)
        common_rows(config)


def test_release_preset() -> None:
    for config in preset("_sarigan_release.yaml"):
        grouping, objective = config.generator.grouping, config.objective
        assert (grouping.kind, grouping.step, grouping.threshold, grouping.loss_reduction) == (
            "similarity", "soft", "learned", "sum"
        )  # fmt: skip
        assert objective.grouping_weight == pytest.approx(0.1 / 20)
        assert objective.threshold_weight == pytest.approx(5 / 20)
        assert objective.information_weight == 20
        common_rows(config)


def common_rows(config: Config) -> None:
    """What the two presets share."""
    grouping, objective = config.generator.grouping, config.objective
    assert (grouping.num_groups, grouping.max_group_share) == (16, None)
    assert (grouping.assignment, grouping.empty_group, grouping.learn_temperature) == ("argmax", "zero", True)
    assert (objective.mixing_kind, objective.information_under_mixing, objective.mixing_probability) == (
        "layers", "skip", 0.9
    )  # fmt: skip
    assert (objective.information_target, objective.information_in_nats) == ("w", False)
    assert (objective.path_length_weight, objective.path_length_interval, objective.r1_interval) == (2, 4, 16)
    assert config.training.ema_ramp_up is None


@pytest.mark.parametrize(
    ("suffix", "kind", "synthesis", "channel_base"),
    [
        ("_stylegan2.yaml", "none", "skip", 8192),
        ("_stylegan2_f.yaml", "none", "skip", 16384),
        ("_stylegan.yaml", "none", "adain", 8192),
        ("_block_diagonal.yaml", "block_diagonal", "skip", 8192),
        ("_contiguous.yaml", "contiguous", "skip", 8192),
        ("_random.yaml", "random", "skip", 8192),
    ],
)
def test_baselines_and_controls(suffix: str, kind: str, synthesis: str, channel_base: int) -> None:
    for config in preset(suffix):
        generator = config.generator
        assert (generator.grouping.kind, generator.synthesis, generator.channel_base) == (kind, synthesis, channel_base)
        assert config.discriminator.channel_base == channel_base
        if kind == "none":
            assert config.objective.information_weight == 0
        assert (config.objective.path_length_weight == 0) == (synthesis == "adain")


def test_phases_follow_the_configuration() -> None:
    config = load_config(
        FOLDER / "quickstart.yaml",
        [*CPU, "generator.channel_max=8", "discriminator.channel_max=8", "objective.r1_gamma=0",
         "generator.grouping.kind=contiguous"],
    )  # fmt: skip
    state = TrainingState(config, resolve_precision(config.training))
    trainer = Trainer(state, open_dataset(config.data, config.generator.resolution))
    assert [phase.name for phase in trainer.phases] == ["discriminator", "generator"]


def test_capped_groups_are_reported() -> None:
    config = load_config(
        FOLDER / "quickstart.yaml",
        [*CPU, "generator.channel_max=8", "discriminator.channel_max=8", "generator.grouping.max_group_share=0.25"],
    )
    state = TrainingState(config, resolve_precision(config.training))
    report = dry_run_report(config, state, data_summary(config))
    assert "groups: 8x8.up has 2 instead of 16 (max_group_share 0.25 of 8 channels)" in report
