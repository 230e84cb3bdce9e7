"""What the paths of a configuration mean: the kind of data that `data.path` names, and paths of a run seen from elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sarigan.data.lmdb.dataset import is_lmdb
from sarigan.errors import InputError
from sarigan.files.paths import kind_of
from sarigan.files.reading import read_json_object

# Settings that are paths, or names where nothing of that name is there.
PATHS = (
    "data.path", "data.labels", "data.colors", "data.mask.path", "held_out.path", "held_out.masks", "held_out.segmenter",
    "metrics.data", "training.init_from",
)  # fmt: skip


def inferred_data_name(levels: Sequence[Mapping[Any, Any]]) -> str | None:
    """`data.name` for a `data.path` that the avatars chosen by a weaker level would pass over; None: it is to stay as it is.

    levels: settings, weakest first. The command line is one. A level that names both means what it says.
    InputError for a path where nothing is, whose kind nobody can tell.
    """
    name, name_level, path, path_level = "avatars", -1, None, -1
    for number, settings in enumerate(levels):
        data = settings.get("data")
        if isinstance(data, Mapping):
            name, name_level = (data["name"], number) if "name" in data else (name, name_level)
            path, path_level = (data["path"], number) if "path" in data else (path, path_level)
    if not isinstance(path, str) or not path or name != "avatars" or name_level >= path_level:
        return None
    if kind_of(Path(path)) is None:
        raise InputError(f"data.path={path}: no such file or folder")
    return "lmdb" if is_lmdb(Path(path)) or Path(path).suffix == ".lmdb" else "folder"


def paths_from_run(settings: Any, run_dir: Path) -> Any:
    """Settings of a run, its relative paths resolved from the folder that the run was started in, whatever the current one.

    A path stays as it is where nothing of that name is found from there: it may be a name, or the run's record is an old one.
    """
    environment = read_json_object(run_dir / "environment.json")
    # Both: a project may move with its runs, or a run alone.
    places = [run_dir / str(environment[key]) for key in ("started_from_run", "started_in") if environment.get(key)]
    for name in PATHS:
        keys = name.split(".")
        value = settings
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if not isinstance(value, str) or not value or Path(value).is_absolute():
            continue
        place = next((place for place in places if (place / value).exists()), None)
        if place is not None and place.resolve() != Path.cwd():
            settings = _with(settings, keys, str((place / value).resolve()))
    return settings


def _with(settings: Mapping[str, Any], keys: Sequence[str], value: str) -> dict[str, Any]:
    return {**settings, keys[0]: value if len(keys) == 1 else _with(settings[keys[0]], keys[1:], value)}
