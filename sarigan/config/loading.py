"""Defaults < YAML (and its `base`) < command line: merged and checked here and nowhere else."""

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sarigan.config.kinds import silent_conversion, texts_as_written, without_value, wrong_kind
from sarigan.config.sections import Config
from sarigan.errors import InputError


def load_config(path: str | Path | None = None, overrides: list[str] | None = None) -> Config:
    """Merge defaults, a YAML file and `section.key=value` overrides; InputError names the file or argument and the field."""
    sources = [] if path is None else [(str(file), values) for file, values in _read_chain(Path(path))]
    for override in overrides or []:
        if "=" not in override:
            raise InputError(f"argument {override!r}: an override has the form section.key=value")
        sources.append((f"argument {override!r}", _parse_override(override)))
    merged = OmegaConf.structured(Config)
    for source, values in sources:
        merged = _merge(merged, values, source)
    try:
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise InputError(f"{_source_of(error.full_key, sources)}{_one_line(error)}") from None
    assert isinstance(config, Config)
    return config


def config_from_dict(values: dict[str, Any], source: str) -> Config:
    """The configuration stored in a checkpoint; InputError naming `source` when it does not fit this version."""
    config = OmegaConf.to_object(_merge(OmegaConf.structured(Config), OmegaConf.create(values), source))
    assert isinstance(config, Config)
    return config


def _parse_override(override: str) -> DictConfig:
    try:
        values = OmegaConf.from_dotlist([override])
        name, _, text = override.partition("=")
        written = OmegaConf.create()
        OmegaConf.update(written, name, yaml.load(text, yaml.BaseLoader))
        return _with_texts(values, OmegaConf.to_container(written, resolve=False))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(f"argument {override!r}: {_one_line(error)}") from None


def _with_texts(values: DictConfig, written: Any) -> DictConfig:
    """YAML takes an unquoted 007, 2024_01 or no for numbers and truths; a setting that is a text takes the letters."""
    settings = OmegaConf.to_container(values, resolve=False)
    assert isinstance(settings, dict)
    return OmegaConf.create(texts_as_written(settings, written, Config))


def _merge(base: Any, values: DictConfig, source: str) -> Any:
    settings = OmegaConf.to_container(values, resolve=False)
    assert isinstance(settings, dict)
    if name := without_value(settings):
        raise InputError(f"{source}: {name} must have a value, got '???'")
    if fault := silent_conversion(settings, Config):
        raise InputError(f"{source}: {fault}")
    try:
        return OmegaConf.merge(base, values)
    except (OmegaConfBaseException, TypeError) as error:
        raise InputError(f"{source}: {wrong_kind(settings, Config) or _one_line(error)}") from None


def _source_of(key: str | None, sources: list[tuple[str, DictConfig]]) -> str:
    """`source: ` of the last that sets the key, whose interpolation leads nowhere."""
    for source, values in reversed(sources):
        found: Any = OmegaConf.to_container(values, resolve=False)
        for part in (key or "").split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return f"{source}: "
    return ""


def _read_chain(path: Path, seen: tuple[Path, ...] = (), named_in: str = "") -> list[tuple[Path, DictConfig]]:
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
    return [*chain, (path, _with_texts(values, yaml.load(text.getvalue(), yaml.BaseLoader)))]


def _one_line(error: Exception) -> str:
    """`message (field a.b)` of a many-line OmegaConf or YAML error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), None)
    if isinstance(error, OmegaConfBaseException):
        return lines[0] + (f" (field {key})" if key else "")
    return "; ".join(lines)
