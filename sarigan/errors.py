"""The one exception for what a user can put right, how a script reports it, and bounds on what a user can ask for."""

import math
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 2
_LONG_WORD = re.compile(r"\S{401,}")  # a path has at most 255 bytes between slashes
_LONGEST = 4000


class InputError(ValueError):
    """An input the user can correct. The message is one line: which file or field, what was found, what is right."""


def require_at_least_1(owner: Any, *names: str, prefix: str = "") -> None:
    """InputError naming the first of these attributes that is below 1; None passes. prefix: what stands before the name."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < 1:
            raise InputError(f"{prefix}{name} must be at least 1, got {value}")


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn an `InputError` into its one line on stderr and exit code 2; anything else stays a traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None


def one_line(message: str) -> str:
    """A message for printing: control characters of names are escaped, long names shortened."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    text = _LONG_WORD.sub(lambda word: _shortened(word[0], 400), text)
    return _shortened(text, _LONGEST)


def require_at_most(section: str, config: object, **largest: float) -> None:
    """InputError naming the first field of a section that is larger than any that makes sense."""
    for name, limit in largest.items():
        value = getattr(config, name)
        if value is not None and limit < value < math.inf:  # `RunConfig` refuses what is not finite
            raise InputError(f"{section}.{name} must be at most {limit:,}, got {value}")


def require_one_of(config: object, prefix: str = "", **choices: Collection[str]) -> None:
    """InputError naming the first attribute that is none of its choices, with `prefix` before its name."""
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise InputError(f"{prefix}{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]}...{text[-length // 2 :]}"
