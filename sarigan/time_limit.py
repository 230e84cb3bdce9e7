"""A time limit for calls that have none of their own, such as a request to a store or a write to a pipe."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
WRITE_SECONDS = 5.0


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call()`, which runs in a thread of its own, or its exception.

    TimeoutError when it takes longer; the thread is then left behind.
    """
    done: dict[str, Any] = {}

    def run() -> None:
        try:
            done["result"] = call()
        except BaseException as error:
            done["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer for {seconds:g} s")
    if "error" in done:
        raise done["error"]
    result: T = done["result"]
    return result


def write_error(text: str) -> None:
    """Write to stderr, unless its reader is gone or does not read: neither raises an error nor waits for long."""
    with suppress(OSError):
        within(WRITE_SECONDS, lambda: os.write(2, text.encode()))
