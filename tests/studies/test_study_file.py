"""What a study file says, and what is wrong with it, in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.studies.study import read_study
from sarigan.systems.style.system import StyleConfig

CONFIG = {"config": "study.yaml"}  # some file beside the study: it is not read here


def test_fields_and_their_defaults(write_study: Callable[..., Path]) -> None:
    study = read_study(write_study(question=None, seeds=None, evaluation=None, free_gb=None))
    assert [variant.name for variant in study.variants] == ["random", "contiguous"]
    assert (study.baseline, study.seeds, study.processes, study.free_gb) == ("random", (0,), 1, 1)
    assert study.budget == ("kimg", 0.04)
    assert study.variants[1].overrides[-1] == "generator.grouping.kind=contiguous"


def test_a_grid_makes_a_variant_of_every_point(write_study: Callable[..., Path]) -> None:
    grid = {"training.batch_size": [8, 16], "objective.r1_gamma": [0.1, 1]}
    study = read_study(write_study(variants={"a": CONFIG, "b": CONFIG}, grid=grid, overrides=["x.y=1"]))
    assert len(study.variants) == 8
    assert study.variants[1].name == "a,batch_size=8,r1_gamma=1"
    assert study.variants[6].overrides == ("x.y=1", "training.batch_size=16", "objective.r1_gamma=0.1")


def test_a_metric_of_the_study_is_not_asked_for_twice(write_study: Callable[..., Path]) -> None:
    study = read_study(write_study(variants={"a": CONFIG | {"metrics": ["groups", "information"]}}))
    assert study.variants[0].metrics == ("information",)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"colour": 1}, r"a study has no field 'colour'; it has question, budget"),
        ({"path": "x"}, r"no field 'path'"),
        ({"budget": None}, r"budget is missing"),
        ({"budget": {"days": 3}}, r"budget must be \{kimg: NUMBER\} or \{minutes: NUMBER\}, got \{'days': 3\}"),
        ({"budget": {"kimg": -1}}, r"budget.kimg must be a number from .*, got -1"),
        ({"budget": {"kimg": float("nan")}}, r"budget.kimg must be a number"),
        ({"metrics": []}, r"metrics must name at least one"),
        ({"metrics": ["beauty"]}, r"metrics: there is no 'beauty'; there are fid"),
        ({"metrics": "fid"}, r"metrics must be a list of texts, got 'fid'"),
        ({"seeds": [0, 0]}, r"seeds must be a list of different whole numbers"),
        ({"seeds": [-1]}, r"seeds must be"),
        ({"seeds": [True]}, r"seeds must be"),
        ({"seeds": []}, r"seeds must be"),
        ({"baseline": "nobody"}, r"baseline must be one of random, contiguous, got 'nobody'"),
        ({"variants": {}}, r"variants must be a mapping"),
        ({"variants": {"a": None}}, r"variants.a must be a mapping"),
        ({"variants": {"a": {"config": 3}}}, r"variants.a.config must be the name of a YAML file, got 3"),
        ({"variants": {"a": {"config": "nowhere.yaml"}}}, r"variants.a.config: .*nowhere.yaml is no file"),
        ({"variants": {"a": CONFIG | {"seed": 1}}}, r"variants.a has no field 'seed'; it has config, overrides, metrics"),
        ({"variants": {"a": CONFIG | {"metrics": ["beauty"]}}}, r"there is no 'beauty'"),
        ({"variants": {"../a": CONFIG}}, r"a name has letters, digits and the signs .* got '../a'"),
        ({"variants": {7: CONFIG}}, r"a name has letters"),
        ({"overrides": [1]}, r"overrides must be a list of texts, got \[1\]"),
        ({"grid": {"training.batch_size": 8}}, r"grid must be a mapping"),
        ({"grid": {"data.path": ["a b"]}}, r"is no name for a variant"),
        ({"base": 3}, r"base must be the name of a YAML file beside this one, got 3"),
        ({"base": "study.yaml"}, r"the base study.yaml has no field 'base'"),
        ({"processes": 0}, r"processes must be a whole number from 1"),
        ({"free_gb": "much"}, r"free_gb must be a number"),
    ],
)
def test_bad_input_is_one_line(write_study: Callable[..., Path], changed: dict, line: str) -> None:
    path = write_study(**changed)
    with pytest.raises(InputError, match=line) as raised:
        read_study(path)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_a_base_gives_what_a_study_does_not_say(write_study: Callable[..., Path]) -> None:
    path = write_study(seeds=[3, 4])
    path.rename(path.with_name("base.yaml"))
    path.write_text("base: base.yaml\nmetrics: [ppl]\nvariants: {a: {config: base.yaml}}\n")
    study = read_study(path)
    assert (study.seeds, study.metrics, [variant.name for variant in study.variants]) == ((3, 4), ("ppl",), ["a"])


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "3", "\x00"])
def test_a_file_that_is_no_study(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="study.yaml"):
        read_study(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "study.yaml", tmp_path):
        with pytest.raises(InputError, match="no such file; a study is a YAML file"):
            read_study(path)


def test_the_studies_of_the_checkout_are_right(project_root: Path, tmp_path: Path) -> None:
    """Every variant can be built: a number of groups may be more than a layer has channels."""
    from sarigan.studies.plan import plan

    paths = sorted((project_root / "studies").glob("*.yaml"))
    assert paths
    for path in paths:
        runs = plan(read_study(path), tmp_path)
        assert runs
        for run in runs:
            if run.seed == runs[0].seed and isinstance(run.config, StyleConfig):
                with torch.device("meta"):
                    Generator(run.config.generator)
