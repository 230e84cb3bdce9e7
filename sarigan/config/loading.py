"""Defaults < YAML (and its `base`) < command line: merged and checked here and nowhere else."""

import dataclasses
import io
import logging
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sarigan.config.paths import inferred_data_name, paths_from_run
from sarigan.data.loader import DataConfig
from sarigan.errors import InputError
from sarigan.files.reading import check_yaml, read_yaml_text, reading
from sarigan.files.run_record import CONFIG_NAME
from sarigan.systems.registry import SYSTEMS
from sarigan.training.run_config import RunConfig

log = logging.getLogger(__name__)
_TEXTS: tuple[Any, ...] = (str, str | None)
_NO_TEXT = (bool, int, float)
_ARGUMENT = "argument "  # how a setting of the command line is called
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class Source(NamedTuple):
    """Settings of one file or argument; `written` are the same with every value as its letters."""

    name: str
    values: DictConfig
    written: Any


def load_config(
    path: str | Path | None = None, overrides: list[str] | None = None, defaults: dict[str, Any] | None = None
) -> RunConfig:
    """Merge defaults, a YAML file and `section.key=value` overrides; InputError names the file or argument and the field.

    `defaults` are those of a model that is there already, in place of this version's.
    """
    sources = [] if defaults is None else [Source("defaults", OmegaConf.create(defaults), None)]
    sources += [] if path is None else _read_chain(Path(path))
    for override in overrides or []:
        if "=" not in override:
            raise InputError(f"{_ARGUMENT}{override!r}: an override has the form section.key=value")
        sources.append(_parse_override(override))
    if (inferred := _data_name(sources)) is not None:
        sources.append(inferred)
    return _built(sources)


def _data_name(sources: list[Source]) -> Source | None:
    """The setting of `data.name` that a `data.path` stands for, said in the log."""
    section = _system_of(sources)
    if typing.get_type_hints(section)["data"].name != DataConfig.name:
        return None  # a system whose data are of one kind
    levels: list[dict[Any, Any]] = []
    arguments: dict[str, Any] = {}
    for source in sources:
        settings: Any = OmegaConf.to_container(source.values, resolve=False)
        settings = texts_as_written(settings, source.written, section)
        if source.name.startswith(_ARGUMENT):
            arguments |= settings["data"] if isinstance(settings.get("data"), Mapping) else {}
        else:
            levels.append(settings)
    name = inferred_data_name([*levels, {"data": arguments}])
    if name is None:
        return None
    log.info(f"data.path names data of the kind data.name={name}, which is taken in place of avatars")
    return Source("data.path", OmegaConf.create({"data": {"name": name}}), None)


def config_from_dict(values: dict[str, Any], source: str) -> RunConfig:
    """The configuration stored in a checkpoint; InputError naming `source` when it does not fit this version."""
    with reading(source, "configuration"), _fields_named():
        if not isinstance(values, dict):
            raise InputError(f"a configuration is a mapping of sections, got {type(values).__name__}")
        return _built([Source(source, OmegaConf.create(values), None)])


def _built(sources: list[Source]) -> RunConfig:
    section = _system_of(sources)
    merged = OmegaConf.structured(section)
    for source in sources:
        with reading(source.name, "configuration"), _fields_named():
            merged = _merge(merged, source, section)
    try:
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise InputError(f"{_source_of(error.full_key, sources)}{_one_line(error)}") from None
    assert isinstance(config, RunConfig)
    return config


def _system_of(sources: list[Source]) -> type[RunConfig]:
    """The configuration class of the system that the last source names; InputError for an unknown one."""
    where, name = "", RunConfig.system
    for source in sources:
        if "system" in source.values:
            with reading(source.name, "configuration"), _fields_named():
                where, name = source.name, source.values["system"]
    if not isinstance(name, str) or name not in SYSTEMS:
        raise InputError(f"{where}: system must be one of {', '.join(SYSTEMS)}, got {name!r}")
    return SYSTEMS[name]


def _parse_override(override: str) -> Source:
    name, _, text = override.partition("=")
    with reading(f"{_ARGUMENT}{override!r}", "setting"), _fields_named():
        check_yaml(text)
        values = OmegaConf.from_dotlist([override])
        written = OmegaConf.create()
        OmegaConf.update(written, name, yaml.load(text, yaml.BaseLoader))
        return Source(f"{_ARGUMENT}{override!r}", values, OmegaConf.to_container(written, resolve=False))


def _merge(base: Any, source: Source, section: type[RunConfig]) -> Any:
    settings = OmegaConf.to_container(source.values, resolve=False)
    assert isinstance(settings, dict)
    # YAML takes an unquoted 007, 2024_01 or no for numbers and truths; a setting that is a text takes the letters.
    settings = texts_as_written(settings, source.written, section)
    if name := without_value(settings):
        raise InputError(f"{source.name}: {name} must have a value, got '???'")
    if fault := silent_conversion(settings, section):
        raise InputError(f"{source.name}: {fault}")
    try:
        return OmegaConf.merge(base, settings)
    except (OmegaConfBaseException, TypeError) as error:
        fault = wrong_kind(settings, section) or _one_line(error) + _elsewhere(settings, section)
        raise InputError(f"{source.name}: {fault}") from None


def _elsewhere(settings: Mapping[Any, Any], section: type[RunConfig]) -> str:
    """A hint for the first key that its section does not have and another one has."""
    for setting in settings_of(settings, section):
        if setting.kind is None:
            sections = {name: kind for name, kind in typing.get_type_hints(section).items() if dataclasses.is_dataclass(kind)}
            names = [name for name, kind in sections.items() if any(f.name == setting.key for f in dataclasses.fields(kind))]
            return f"; {names[0]}.{setting.key} is a setting" if names else ""
    return ""


def _source_of(key: str | None, sources: list[Source]) -> str:
    """`source: ` of the last that sets the key, whose interpolation leads nowhere."""
    for source in reversed(sources):
        found: Any = OmegaConf.to_container(source.values, resolve=False)
        for part in (key or "").split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return f"{source.name}: "
    return ""


def _read_chain(path: Path, seen: tuple[Path, ...] = (), named_in: str = "") -> list[Source]:
    """The file and the ones it names as `base`, farthest first."""
    with reading(f"{named_in}{path}", "YAML file"), _fields_named():
        if path.resolve() in seen:
            raise InputError("`base` goes round in a circle")
        text = read_yaml_text(path)
        values = OmegaConf.load(io.StringIO(text))  # unlike plain PyYAML it refuses a key that stands twice
        if not isinstance(values, DictConfig):
            raise InputError("a configuration is a mapping of sections, got a list")
        if not values:
            raise InputError("holds no setting; a configuration has sections such as training: {batch_size: 32}")
        base = values.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise InputError(f"`base` is the name of one YAML file, got {base!r}")
        if path.name == CONFIG_NAME:
            values = OmegaConf.create(paths_from_run(OmegaConf.to_container(values, resolve=False), path.parent))  # type: ignore[arg-type]
        source = Source(str(path), values, yaml.load(text, yaml.BaseLoader))
    chain = [] if base is None else _read_chain(path.parent / base, (*seen, path.resolve()), f"{path}: its base ")
    return [*chain, source]


@contextmanager
def _fields_named() -> Iterator[None]:
    """An error of OmegaConf, which is of many lines, becomes an InputError with its first line and the field."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise InputError(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    """`message (field a.b)` of a many-line OmegaConf error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), None)
    return (lines or [type(error).__name__])[0] + (f" (field {key})" if key else "")


class Setting(NamedTuple):
    """One setting of a file beside what its section's dataclass says of it."""

    name: str  # training.seed
    value: Any
    kind: Any  # the field's type; None: there is no such field
    section: type
    key: str

    def refused(self, hint: str = "") -> str:
        """One line with the kind that is right."""
        return f"{self.name} must be {_described(self.kind, self.value)}, got {_shown(self.value)}{hint}"


def settings_of(values: Mapping[Any, Any], section: type, prefix: str = "") -> Iterator[Setting]:
    """Every setting of `values`, nested as they stand in the file; a section that is no mapping counts as a setting."""
    kinds = typing.get_type_hints(section)
    for key, value in values.items():
        kind = kinds.get(key)
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            yield from settings_of(value, typing.cast(type, kind), f"{prefix}{key}.")
        else:
            yield Setting(f"{prefix}{key}", value, kind, section, key)


def wrong_kind(values: Mapping[Any, Any], section: type) -> str | None:
    """One line on the first of `values` that does not fit the section's dataclass."""
    for setting in settings_of(values, section):
        if dataclasses.is_dataclass(setting.kind):
            example = f"{{{dataclasses.fields(setting.kind)[0].name}: ...}}"
            return f"{setting.name} must be a section of settings such as {example}, got {_shown(setting.value)}"
        if setting.kind is not None and not _fits(setting.section, setting.key, setting.value):
            return setting.refused()
    return None


def silent_conversion(values: Mapping[Any, Any], section: type) -> str | None:
    """One line on the first value that OmegaConf would change silently: a number for a text or for true or false."""
    for setting in settings_of(values, section):
        if setting.kind in _TEXTS and isinstance(setting.value, _NO_TEXT):
            return setting.refused("; write it in quotes")
        if setting.kind is bool and isinstance(setting.value, int | float) and setting.value not in (0, 1):
            return setting.refused()
    return None


def without_value(values: Mapping[Any, Any], prefix: str = "") -> str | None:
    """The name of the first setting that is `???`, OmegaConf's mark of a value to come, which merging would pass over."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        found = without_value(value, f"{name}.") if isinstance(value, Mapping) else name if value == "???" else None
        if found:
            return found
    return None


def texts_as_written(values: Mapping[Any, Any], written: Any, section: type) -> dict[Any, Any]:
    """`values` with the letters of `written`, the same settings unparsed, wherever YAML made something else of a text."""
    kinds, found = typing.get_type_hints(section), {}
    for key, value in values.items():
        kind, text = kinds.get(key), written.get(key) if isinstance(written, Mapping) else None
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            value = texts_as_written(value, text, typing.cast(type, kind))
        elif kind in _TEXTS and isinstance(value, _NO_TEXT) and isinstance(text, str):
            value = text
        found[key] = value
    return found


def _fits(section: type, key: str, value: Any) -> bool:
    try:
        OmegaConf.merge(OmegaConf.structured(section), {key: value})
    except (OmegaConfBaseException, TypeError):
        return False
    return True


def _described(kind: Any, value: Any) -> str:
    if isinstance(kind, types.UnionType):
        return " or ".join("null" if part is type(None) else _described(part, value) for part in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"a list, e.g. [{value if isinstance(value, str) else '...'}]"
    return _KINDS.get(kind, str(kind))


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
