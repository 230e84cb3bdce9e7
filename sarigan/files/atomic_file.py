"""Files that are replaced whole or not at all, also across a power cut: temporary file, sync, rename, sync of the folder."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, write: Callable[[BinaryIO], object], shared: bool = False) -> None:
    """Let `write` fill a temporary file beside `path` (its name with .tmp), then put it in place of `path`.

    shared: several processes may write `path` at one time, each through a temporary file of its own.

    Whatever `write` raises, `path` stays as it was and the temporary file is removed.
    """
    temporary = path.with_name(f"{path.name}{f'.{socket.gethostname()}-{os.getpid()}' if shared else ''}.tmp")
    try:
        with open(temporary, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """`replace_file` with UTF-8 text."""
    replace_file(path, lambda file: file.write(text.encode()))


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable; nothing where the file system cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
