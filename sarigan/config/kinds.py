"""Which setting has a value of the wrong kind, and what kind is right: OmegaConf's own messages leave the field out."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

_TEXTS: tuple[Any, ...] = (str, str | None)
_NO_TEXT = (bool, int, float)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def wrong_kind(values: Mapping[Any, Any], section: type, prefix: str = "") -> str | None:
    """One line on the first of `values`, nested as they stand in the file, that does not fit the section's dataclass."""
    kinds = typing.get_type_hints(section)
    for key, value in values.items():
        kind, name = kinds.get(key), f"{prefix}{key}"
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                return f"{name} must be a section of settings such as {_example(kind)}, got {_shown(value)}"
            found = wrong_kind(value, typing.cast(type, kind), f"{name}.")
            if found:
                return found
        elif kind is not None and not _fits(section, key, value):
            return f"{name} must be {_described(kind, value)}, got {_shown(value)}"
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


def silent_conversion(values: Mapping[Any, Any], section: type, prefix: str = "") -> str | None:
    """One line on the first value that OmegaConf would make another of without a word: a number for a text or a truth."""
    kinds = typing.get_type_hints(section)
    for key, value in values.items():
        kind, name = kinds.get(key), f"{prefix}{key}"
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            if found := silent_conversion(value, typing.cast(type, kind), f"{name}."):
                return found
        elif kind in _TEXTS and isinstance(value, _NO_TEXT):
            return f"{name} must be {_described(kind, value)}, got {_shown(value)}; write it in quotes"
        elif kind is bool and isinstance(value, int | float) and value not in (0, 1):
            return f"{name} must be {_described(kind, value)}, got {_shown(value)}"
    return None


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


def _example(kind: Any) -> str:
    return f"{{{dataclasses.fields(kind)[0].name}: ...}}"


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
