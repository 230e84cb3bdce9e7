"""One preparation at a time for a destination, and none that a dead process keeps others from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sarigan.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "preparing.lock"


@contextmanager
def destination_lock(folder: Path) -> Iterator[None]:
    """InputError while another process holds it. POSIX record locks end with their process and are not inherited."""
    with open(folder / LOCK_NAME, "w") as file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{folder}: another process is preparing this set") from None
        yield
