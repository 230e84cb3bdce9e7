"""Defaults < YAML (and its `base`) < command line: merged and checked here and nowhere else."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sarigan.config.kinds import silent_conversion, texts_as_written, without_value, wrong_kind
from sarigan.errors import InputError
from sarigan.systems.registry import SYSTEMS
from sarigan.training.run_config import RunConfig


class Source(NamedTuple):
    """Settings of one file or argument; `written` are the same with every value as its letters."""

    name: str
    values: DictConfig
    written: Any


def load_config(path: str | Path | None = None, overrides: list[str] | None = None) -> RunConfig:
    """Merge defaults, a YAML file and `section.key=value` overrides; InputError names the file or argument and the field."""
    sources = [] if path is None else _read_chain(Path(path))
    for override in overrides or []:
        if "=" not in override:
            raise InputError(f"argument {override!r}: an override has the form section.key=value")
        sources.append(_parse_override(override))
    return _built(sources)


def config_from_dict(values: dict[str, Any], source: str) -> RunConfig:
    """The configuration stored in a checkpoint; InputError naming `source` when it does not fit this version."""
    return _built([Source(source, OmegaConf.create(values), None)])


def _built(sources: list[Source]) -> RunConfig:
    section = _system_of(sources)
    merged = OmegaConf.structured(section)
    for source in sources:
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
            where, name = source.name, source.values["system"]
    if name not in SYSTEMS:
        raise InputError(f"{where}: system must be one of {', '.join(SYSTEMS)}, got {name!r}")
    return SYSTEMS[name]


def _parse_override(override: str) -> Source:
    name, _, text = override.partition("=")
    try:
        values = OmegaConf.from_dotlist([override])
        written = OmegaConf.create()
        OmegaConf.update(written, name, yaml.load(text, yaml.BaseLoader))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(f"argument {override!r}: {_one_line(error)}") from None
    return Source(f"argument {override!r}", values, OmegaConf.to_container(written, resolve=False))


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
        raise InputError(f"{source.name}: {wrong_kind(settings, section) or _one_line(error)}") from None


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
    if path.resolve() in seen:
        raise InputError(f"{path}: `base` goes round in a circle")
    try:
        text = io.StringIO(path.read_text(encoding="utf-8"))
        text.name = str(path)  # for messages
        values = OmegaConf.load(text)  # unlike plain PyYAML it refuses a key that stands twice
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{named_in}{path}: cannot read the configuration ({reason})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({_one_line(error)})") from None
    if not isinstance(values, DictConfig):
        raise InputError(f"{path}: a configuration is a mapping of sections, got a list")
    if not values:
        raise InputError(f"{path}: holds no setting; a configuration has sections such as training: {{batch_size: 32}}")
    try:
        base = values.pop("base", None)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    if base is not None and not isinstance(base, str):
        raise InputError(f"{path}: `base` is the name of one YAML file, got {base!r}")
    chain = [] if base is None else _read_chain(path.parent / base, (*seen, path.resolve()), f"{path}: its base ")
    return [*chain, Source(str(path), values, yaml.load(text.getvalue(), yaml.BaseLoader))]


def _one_line(error: Exception) -> str:
    """`message (field a.b)` of a many-line OmegaConf or YAML error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), None)
    if isinstance(error, OmegaConfBaseException):
        return lines[0] + (f" (field {key})" if key else "")
    return "; ".join(lines)
