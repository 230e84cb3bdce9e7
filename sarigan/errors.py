"""The one exception for what a user can put right, and how a script reports it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 2


class InputError(ValueError):
    """An input the user can correct. The message is one line: which file or field, what was found, what is right."""


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn an `InputError` into its one line on stderr and exit code 2; anything else stays a traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None
