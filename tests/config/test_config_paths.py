"""What the paths of a configuration mean: data that a path names, and paths of a run seen from another folder."""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sarigan.config import load_config
from sarigan.config.paths import PATHS, paths_from_run
from sarigan.config.reference import settings_of
from sarigan.errors import InputError
from sarigan.pretrained import load_system
from sarigan.runs.run import train
from sarigan.systems.registry import SYSTEMS


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder, a zip file, a prepared set, and configurations."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "set"):
        (tmp_path / name).mkdir()
    (tmp_path / "set" / "data.mdb").write_bytes(b"")
    zipfile.ZipFile(tmp_path / "photos.zip", "w").close()
    (tmp_path / "avatars.yaml").write_text("data: {name: avatars}\n")
    (tmp_path / "both.yaml").write_text("data: {name: avatars, path: photos}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("config", "overrides", "name"),
    [
        (None, ["data.path=photos"], "folder"),
        ("avatars.yaml", ["data.path=photos.zip"], "folder"),
        ("avatars.yaml", ["data.path=set"], "lmdb"),
        ("avatars.yaml", ["data.path=set", "data.name=folder"], "folder"),
        ("avatars.yaml", ["data.path=photos", "data.name=avatars"], "avatars"),  # said in one breath
        ("both.yaml", [], "avatars"),
        ("both.yaml", ["data.name=avatars"], "avatars"),
        ("avatars.yaml", ["data.path=null"], "avatars"),
    ],
)
def test_the_kind_of_data_is_that_of_the_path(
    places: Path, config: str | None, overrides: list[str], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert load_config(config and places / config, overrides).data.name == name
    told = "in place of avatars" in caplog.text
    assert told == (name != "avatars" and not any(o.startswith("data.name") for o in overrides))


def test_a_path_that_leads_nowhere(places: Path) -> None:
    with pytest.raises(InputError, match=r"^data.path=pictures: no such file or folder$"):
        load_config(places / "avatars.yaml", ["data.path=pictures"])


def test_paths_of_a_run_from_elsewhere(
    tiny_config: Callable[..., Any], png_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained in one folder, read from another, and after the whole project was moved."""
    project = tmp_path / "project"
    shutil.copytree(png_folder, project / "pictures")
    monkeypatch.chdir(project)
    config = tiny_config("data.path=pictures", "generator.resolution=16", "training.total_kimg=0.008")
    assert config.data.name == "folder"
    train(config, Path("runs/a"))
    assert load_system("runs/a")[1].data.path == "pictures"  # here nothing changes
    for place, run in ((tmp_path, "project/runs/a"), (project / "runs", "a")):
        monkeypatch.chdir(place)
        assert load_system(run)[1].data.path == str(project / "pictures")
        assert load_config(Path(run) / "config.yaml").data.path == str(project / "pictures")
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    found = load_system("moved/runs/a")[1]
    assert found.data.path == str(tmp_path / "moved" / "pictures") and len(found.open_data()[1]) == 24
    shutil.move("moved/runs/a", "alone")
    (tmp_path / "moved").rename(project)
    assert load_system("alone")[1].data.path == str(project / "pictures")
    # An old record tells no folder: then paths are from here, as they always were.
    environment = json.loads(Path("alone/environment.json").read_text())
    Path("alone/environment.json").write_text(json.dumps({k: v for k, v in environment.items() if "started" not in k}))
    assert load_system("alone")[1].data.path == "pictures"


def test_names_and_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"started_in": str(tmp_path)}))
    (tmp_path / "avatars_64").mkdir()
    for settings in ({"data": {"path": "/somewhere"}}, {"metrics": {"data": "avatars"}}, {"data": None}, None, {}):
        assert paths_from_run(settings, tmp_path) == settings


def test_every_setting_that_names_a_place_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [row for system in SYSTEMS.values() for row in settings_of(system)]
    assert set(PATHS) <= {row.name for row in settings}
    places = {row.name for row in settings if row.default == "null" and re.search(r"\b(file|folder|path)\b", row.text.lower())}
    assert places and places <= set(PATHS)
    project = tmp_path / "project"
    (project / "here").mkdir(parents=True)
    (project / "environment.json").write_text(json.dumps({"started_in": str(project)}))
    monkeypatch.chdir(tmp_path)
    for name in PATHS:
        section, *middle, last = name.split(".")
        nested = {middle[0]: {last: "here"}} if middle else {last: "here"}
        found = paths_from_run({section: nested}, project)[section]
        assert (found[middle[0]] if middle else found)[last] == str(project / "here"), name
