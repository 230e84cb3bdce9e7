"""Defaults < YAML and its `base` < command line, and one line for whatever is wrong with any of them."""

from pathlib import Path

import pytest

from sarigan.config import config_from_dict, load_config
from sarigan.errors import InputError
from sarigan.systems.style.system import StyleConfig


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_the_papers_preset() -> None:
    config = load_config()
    assert config == StyleConfig()
    assert (config.generator.resolution, config.generator.channel_base, config.generator.grouping.num_groups) == (256, 8192, 16)
    assert config.objective.grouping_weight == 2 and config.objective.information_weight == 10


def test_yaml_over_defaults_and_command_line_over_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "training:\n  batch_size: 8\n  seed: 3\ngenerator:\n  grouping:\n    num_groups: 4\n")
    config = load_config(path, ["training.seed=5", "generator.grouping.step=soft", "training.max_minutes=null"])
    assert (config.training.batch_size, config.training.seed, config.training.max_minutes) == (8, 5, None)
    assert (config.generator.grouping.num_groups, config.generator.grouping.step) == (4, "soft")
    assert config.generator.resolution == 256


def test_later_overrides_win() -> None:
    assert load_config(None, ["training.seed=1", "training.seed=2"]).training.seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [("objective.r1_gamma=1e-3", 1e-3), ("objective.r1_gamma=2", 2.0), ("objective.r1_gamma=.5", 0.5)],
)
def test_numbers_are_read_as_people_write_them(override: str, expected: float) -> None:
    value = load_config(None, [override]).objective.r1_gamma
    assert value == expected and isinstance(value, float)


@pytest.mark.parametrize("text", ["2024_01", "007", "no", "1e3", "0x1F", "1:30", "2024-01-01", "true", ".5", "none"])
def test_a_text_takes_the_letters(text: str, tmp_path: Path) -> None:
    """What YAML takes for a number or a truth is still the name of a folder."""
    path, folder = write(tmp_path, "a.yaml", f"data:\n  name: folder\n  path: {text}\n"), "data.name=folder"
    arguments = ([folder, f"data.path={text}"], [folder, f"data.path='{text}'"])
    for found in (load_config(path), *(load_config(None, each) for each in arguments)):
        assert found.data.path == text
    assert load_config(write(tmp_path, "b.yaml", load_config(path).to_yaml())).data.path == text


def test_no_text_is_still_null() -> None:
    assert [load_config(None, [f"data.path={text}"]).data.path for text in ("null", "~", "")] == [None] * 3


def test_base_chain_is_relative_to_the_file_and_nearest_wins(tmp_path: Path) -> None:
    write(tmp_path, "far.yaml", "training:\n  seed: 1\n  batch_size: 4\n  tick_kimg: 7\n")
    write(tmp_path, "sub/near.yaml", "base: ../far.yaml\ntraining:\n  seed: 2\n  batch_size: 8\n")
    path = write(tmp_path, "sub/own.yaml", "base: near.yaml\ntraining:\n  seed: 3\n")
    training = load_config(path).training
    assert (training.seed, training.batch_size, training.tick_kimg) == (3, 8, 7.0)


def test_resolved_yaml_loads_back_to_an_equal_config(tmp_path: Path) -> None:
    config = load_config(
        None, ["generator.grouping.freeze_kimg=3.5", "objective.mixing_kind=halves", "data.name=folder", "data.path=a b:c"]
    )
    assert load_config(write(tmp_path, "config.yaml", config.to_yaml())) == config
    assert config_from_dict(config.to_dict(), "a checkpoint") == config


def problem(path: Path | None, overrides: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert message.strip() and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.batchsize=3", ["'training.batchsize=3'", "Did you mean", "'batch_size'"]),
        ("training.resolution=64", ["'training.resolution=64'", "; generator.resolution is a setting"]),
        ("generator.grouping.num_group=3", ["Did you mean", "'num_groups'"]),
        ("generatr.resolution=64", ["Did you mean", "'generator'"]),
        ("training.batch_size=many", ["'training.batch_size=many': training.batch_size must be a whole number, got 'many'"]),
        ("training.batch_size=1.5", ["training.batch_size must be a whole number, got 1.5"]),
        ("training.batch_size=null", ["training.batch_size must be a whole number, got null"]),
        ("training.batch_size={a: 1}", ["training.batch_size must be a whole number, got {'a': 1}"]),
        ("training.max_minutes=long", ["training.max_minutes must be a number or null, got 'long'"]),
        ("data.flip=maybe", ["data.flip must be true or false, got 'maybe'"]),
        ("data.flip=5", ["'data.flip=5': data.flip must be true or false, got 5"]),
        ("data.flip=0.5", ["data.flip must be true or false, got 0.5"]),
        ("data.crop=pad", ["data.crop must be one of none, center, got 'pad'"]),
        ("data.path=[a]", ["data.path must be a text or null, got ['a']"]),
        ("metrics.names=fid", ["metrics.names must be a list, e.g. [fid], got 'fid'"]),
        ("metrics.names={a: 1}", ["metrics.names must be a list, e.g. [...], got {'a': 1}"]),
        ("training.seed=???", ["'training.seed=???': training.seed must have a value, got '???'"]),
        ("training=???", ["training must have a value"]),
        ("training.seed=[1", ["'training.seed=[1'"]),
        ("training.seed=${training.nope}", ["'training.seed=${training.nope}': ", "key 'training.nope'", "training.seed)"]),
        ("generator=5", ["'generator=5': generator must be a section of settings such as {resolution: ...}, got 5"]),
        ("generator.grouping=[1]", ["generator.grouping must be a section of settings", "got [1]"]),
        ("training.seed", ["'training.seed'", "section.key=value"]),
        ("generator.resolution=100", ["generator.resolution", "power of two", "100"]),
        ("generator.resolution=4", ["generator.resolution", "at least 8", "4"]),
        ("generator.channel_base=3", ["generator.channel_base must be at least 128", "3"]),
        ("generator.synthesis=stylegan3", ["generator.synthesis", "skip, adain", "'stylegan3'"]),
        ("generator.synthesis=adain", ["generator.grouping.kind must be none", "'similarity'"]),
        ("generator.mapping_learning_rate_multiplier=0", ["mapping_learning_rate_multiplier must be positive"]),
        ("generator.grouping.kind=simlarity", ["generator.grouping.kind", "none, similarity, ", "'simlarity'"]),
        ("objective.mixing_probability=2", ["objective.mixing_probability must be at most 1", "2.0"]),
        ("objective.r1_gamma=-1", ["objective.r1_gamma must not be negative", "-1.0"]),
        ("objective.r1_gamma=nan", ["objective.r1_gamma must be a finite number", "nan"]),
        ("objective.information_target=z", ["objective.information_target", "w, codes", "'z'"]),
        ("optimizer.beta2=1", ["optimizer.beta2 must be in [0, 1)", "1.0"]),
        ("optimizer.epsilon=-1", ["optimizer.epsilon must not be negative"]),
        ("training.total_kimg=.inf", ["training.total_kimg must be a finite number", "inf"]),
        ("training.total_kimg=0", ["training.total_kimg must be positive", "0.0"]),
        ("training.max_minutes=0", ["training.max_minutes must be positive or null", "0.0"]),
        ("training.accumulation_rounds=3", ["training.batch_size must be a multiple", "rounds=3", "got 32"]),
        ("training.precision=half", ["training.precision", "float32, bfloat16", "'half'"]),
        ("training.device=gpu", ["training.device", "cpu", "'gpu'"]),
        ("training.device=cuda:one", ["training.device", "cuda:N", "'cuda:one'"]),
        ("data.name=lsun", ["data.name", "avatars, folder", "'lsun'"]),
        ("data.name=folder", ["data.path", "got nothing"]),
        ("data.num_workers=-1", ["data.num_workers must not be negative", "-1"]),
    ],
)
def test_wrong_overrides(override: str, parts: list[str]) -> None:
    message = problem(None, [override])
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["generator.grouping.kind=none", "objective.mixing_kind=halves"], ["objective.mixing_kind=halves", "kind='none'"]),
        (["generator.grouping.kind=none", "objective.information_target=codes"], ["information_target=codes"]),
        (["generator.grouping.kind=none", "generator.form=activation"], ["generator.form=activation"]),
        (["generator.grouping.empty_group=release", "generator.form=activation"], ["empty_group=release"]),
        (["generator.grouping.empty_group=release", "generator.style_biases=true"], ["generator.style_biases"]),
    ],
)
def test_options_that_exclude_each_other(overrides: list[str], parts: list[str]) -> None:
    message = problem(None, overrides)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("generator:\n  resolutoin: 64\n", ["bad.yaml", "Did you mean", "'resolution'"]),
        ("training:\n  batch_size: [1, 2]\n", ["bad.yaml", "training.batch_size"]),
        ("training:\n  seed: 1\ntraining:\n  batch_size: 4\n", ["bad.yaml", "duplicate key training", "line 3"]),
        ("- 1\n", ["bad.yaml", "mapping of sections"]),
        ("5\n", ["bad.yaml", "int"]),
        ("training: [1\n", ["bad.yaml", "not a readable YAML file", "line 2"]),
        ("generator:\n\tresolution: 3\n", ["bad.yaml", "not a readable YAML file", "line 2"]),
        ("generator:\n", ["bad.yaml: generator must be a section of settings", "got null"]),
        ("training: {seed: '${nothing.there}'}\n", ["bad.yaml: ", "'nothing.there'", "(field training.seed)"]),
        ("x: &x {path: 007}\ndata: {<<: *x}\n", ["bad.yaml: data.path must be a text or null, got 7; write it in quotes"]),
        ("training:\n  seed: ???\n", ["bad.yaml: training.seed must have a value"]),
        ("", ["bad.yaml: holds no setting"]),
        ("# nothing but words\n", ["bad.yaml: holds no setting"]),
        ("base: bad.yaml\n", ["bad.yaml", "circle"]),
        ("base: nope.yaml\n", ["bad.yaml: its base ", "nope.yaml: cannot be read (No such file"]),
        ("base: [a, b]\n", ["bad.yaml", "`base`", "['a', 'b']"]),
        ("base: ${x}\n", ["bad.yaml", "x"]),
    ],
)
def test_wrong_files(text: str, parts: list[str], tmp_path: Path) -> None:
    message = problem(write(tmp_path, "bad.yaml", text), [])
    assert all(part in message for part in parts), message


def test_a_longer_circle_of_bases(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml\n")
    write(tmp_path, "b.yaml", "base: c.yaml\n")
    assert "circle" in problem(write(tmp_path, "c.yaml", "base: a.yaml\n"), [])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in problem(tmp_path / "none.yaml", [])
    write(tmp_path, "quickstart.yaml", "training: {seed: 1}\n")
    near = problem(tmp_path / "quickstrat.yaml", [])
    assert near.endswith(f"(No such file or directory); did you mean {tmp_path / 'quickstart.yaml'}?")
    assert "did you mean" not in problem(tmp_path / "another.yaml", [])
    assert str(tmp_path) in problem(tmp_path, [])
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00a")
    assert str(binary) in problem(binary, [])


def test_stored_configuration_of_another_version_names_its_source() -> None:
    with pytest.raises(InputError, match=r"run/x\.pt: Key 'colour' not in 'GeneratorConfig'"):
        config_from_dict({"generator": {"colour": 1}}, "run/x.pt")
