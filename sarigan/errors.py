"""The one exception for what a user can put right, and how a script reports it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 2


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
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None
