"""The one guard around every parser of a user's file: whatever it raises becomes one line with the file's name.

A reader of a kind of file bounds size and depth and calls its library inside `reading`; callers need no list of exceptions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sarigan.errors import InputError

MAX_REASON = 160


@contextmanager
def reading(path: str | Path, kind: str, hint: str = "") -> Iterator[None]:
    """Around the parsing of the file `path`, a `kind` such as `npz file`; InputError for whatever goes wrong within.

    A hint says what would be right. Want of memory counts as the file's fault: sizes are bounded before anything is allocated.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{f'; {hint}' if hint else ''}") from None
    except (Exception, MemoryError, RecursionError) as error:
        raise InputError(f"{path}: not a readable {kind} ({reason_of(error)}){f'; {hint}' if hint else ''}") from None


def reason_of(error: BaseException) -> str:
    """What a library says was wrong, in one line of bounded length."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"{text[:MAX_REASON]}..." if len(text) > MAX_REASON else text or type(error).__name__
