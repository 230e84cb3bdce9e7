"""Readers of what a user brings: one a kind of file, with bounds on size and depth, and one guard around every parser.

`reading` turns whatever a parser raises into one line with the file's name, so callers need no list of exceptions.
"""

import csv
import difflib
import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sarigan.errors import InputError
from sarigan.files.paths import kind_of

MAX_REASON = 200
MAX_TEXT_BYTES = 64 << 20
MAX_YAML_BYTES = 256 << 10  # PyYAML reads some 100 kB a second
MAX_YAML_VALUES = 100_000  # aliases of aliases make any number of a few lines
MAX_DEPTH = 64
_NO_MEMORY = re.compile("allocate memory|tried to allocate|out of memory")
MAX_NPZ_BYTES = 4 << 30  # unpacked: the latents of 100,000 seeds at 1024 px


@contextmanager
def reading(path: str | Path, kind: str, hint: str = "", damaged: type[InputError] = InputError) -> Iterator[None]:
    """Around the parsing of `path`, a `kind` such as `JSON file`: whatever goes wrong is an InputError that begins with `path`.

    A hint says what would be right. `damaged` is raised for content that cannot be right, and never for a file that is missing,
    a disk that fails or too little memory.
    """
    end = f"; {hint}" if hint else ""
    try:
        yield
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from None
    except Exception as error:
        # A seek to nowhere (EINVAL) comes of wrong offsets in the file.
        outside = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if outside or isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            raise InputError(f"{path}: cannot be read ({reason_of(error)}){_near_name(error)}{end}") from None
        raise damaged(f"{path}: not a readable {kind} ({reason_of(error)}){end}") from None


def _near_name(error: BaseException) -> str:
    """A file with nearly the name of one that is missing; nothing in a folder of many."""
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str):
        return ""
    missing = Path(error.filename)
    try:
        names = os.listdir(missing.parent)
    except OSError:
        return ""
    nearest = difflib.get_close_matches(missing.name, sorted(names), n=1, cutoff=0.8) if len(names) <= 1000 else []
    return f"; did you mean {missing.with_name(nearest[0])}?" if nearest else ""


def reason_of(error: BaseException) -> str:
    """What a library says was wrong, in one line of bounded length."""
    mark = getattr(error, "problem_mark", None)  # PyYAML's, whose own text is of many lines
    text = str(getattr(error, "strerror", None) or error)
    if mark is not None:
        text = f"{getattr(error, 'problem', '')} in line {mark.line + 1}, column {mark.column + 1}"
    elif isinstance(error, KeyError) and error.args:
        text = f"{error.args[0]} is missing"
    text = " ".join(text.split())
    return f"{text[:MAX_REASON]}..." if len(text) > MAX_REASON else text or type(error).__name__


def read_bytes(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """The content of a regular file; ValueError when it is larger. Called inside `reading`."""
    kind_of(path)  # opening a pipe would wait for ever
    with open(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > max_bytes:
            raise ValueError(f"{size:,} bytes, at most {max_bytes:,} are read")
        return file.read()


def parse_json(data: str | bytes) -> Any:
    """Any exception for what is no JSON, or nested too deep. Called inside `reading`."""
    value = json.loads(data)
    _check_bounds(value, lambda item: item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
    return value


def read_json(path: Path, hint: str = "") -> Any:
    """A JSON file of a user."""
    with reading(path, "JSON file", hint):
        return parse_json(read_bytes(path))


def json_object(data: bytes) -> dict[str, Any]:
    """What one of our own files says; empty when a crash cut it short or a disk spoilt it."""
    try:
        with reading("", "JSON"):
            value = parse_json(data.decode())
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


def read_json_object(path: Path) -> dict[str, Any]:
    """`json_object` of a file; empty, too, when there is none."""
    try:
        with reading(path, "JSON file"):
            return json_object(read_bytes(path))
    except InputError:
        return {}


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file, which `check_yaml` has passed. Called inside `reading`."""
    text = read_bytes(path, MAX_YAML_BYTES).decode("utf-8")
    check_yaml(text)
    return text


def check_yaml(text: str) -> None:
    """Any exception for what is no YAML, nested too deep, or which aliases would blow up."""
    import yaml  # which a program that only loads an export does without

    def children(node: Any) -> Iterable[Any]:
        if isinstance(node, yaml.MappingNode):
            return (part for pair in node.value for part in pair)
        return node.value if isinstance(node, yaml.SequenceNode) else ()

    _check_bounds(yaml.compose(text, yaml.SafeLoader), children, MAX_YAML_VALUES)


def parse_csv(text: str) -> list[list[str]]:
    """Any exception for what is no CSV. Called inside `reading`."""
    return [*csv.reader(io.StringIO(text, newline=""))]


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of these names (None: all) in this machine's byte order, without running code of the file."""
    wanted = ""
    if names is not None:
        wanted = f" with {'an array' if len(names) == 1 else 'arrays'} {' and '.join(f'`{name}`' for name in names)}"
    with reading(path, f".npz file{wanted}"):
        kind_of(path)
        with open(path, "rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise InputError(f"{path}: a single array (.npy); an .npz file{wanted} is right: numpy.savez writes it")
            size = sum(member.file_size for member in file.zip.infolist())
            if size > MAX_NPZ_BYTES:
                raise ValueError(f"{size:,} bytes unpacked, at most {MAX_NPZ_BYTES:,} are read")
            return {name: _plain(file[name], name) for name in (file.files if names is None else names)}


def _plain(array: Any, name: str) -> np.ndarray:
    """An array of a type that PyTorch has, or of texts."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufUS":
        raise ValueError(f"{name} holds no numbers and no texts")
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    return array.astype(np.float64 if wide else array.dtype.newbyteorder("="), copy=False)


def _check_bounds(root: Any, children: Callable[[Any], Iterable[Any]], max_values: int | None = None) -> None:
    """ValueError when values lie deeper than MAX_DEPTH, or are more than `max_values`, a shared one counted in every place."""
    level, left = [root], max_values
    for _ in range(MAX_DEPTH):
        limit = None if left is None else left + 1
        level = [*islice((child for value in level for child in children(value)), limit)]
        if not level:
            return
        if left is not None:
            left -= len(level)
            if left < 0:
                raise ValueError(f"more than {max_values:,} values")
    raise ValueError(f"values nested more than {MAX_DEPTH} deep")
