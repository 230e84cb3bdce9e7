"""Paths that a user names, checked before they are used, and files that are replaced whole.

A path to read is looked at before a library opens it. A path to write is tried before the work whose results go there, so that
a wrong one costs seconds and not hours. A file is replaced whole or not at all, also across a power cut: temporary file, sync,
rename, sync of the folder.
"""

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sarigan.errors import InputError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_SHOWN = 200  # letters of a path that is no path


def kind_of(path: Path) -> str | None:
    """`file`, `folder`, or None when nothing is there (a link to nothing included).

    InputError for what cannot be looked at (no permission, a name that no file can have), and for pipes, sockets and
    devices: opening one may wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}..."
        shown = shown if shown.isprintable() else ascii(shown)
        raise InputError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    raise InputError(f"{path}: a pipe, socket or device; a regular file or a folder is right")


@contextmanager
def output_folder(folder: Path, option: str = "--output") -> Iterator[None]:
    """Make `folder` and try to write in it, then run the block that fills it.

    InputError naming the place and the option when it cannot be made or written, at once or later in the block. A block
    that fails leaves no folder behind that is empty and was not there before.
    """
    missing: list[Path] = []
    try:
        with _refusals(folder, option):
            missing = [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"\0")
                probe.flush()
        with _refusals(folder, option, only_within=True):
            yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise


@contextmanager
def output_file(path: Path, option: str = "--output") -> Iterator[None]:
    """`output_folder` for one file: its folder is made and tried, and what is in the file's place can be replaced."""
    with output_folder(path.parent, option):
        with _refusals(path, option):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if path.exists():
                path.open("ab").close()
        yield


@contextmanager
def _refusals(place: Path, option: str, only_within: bool = False) -> Iterator[None]:
    """OSError -> InputError; with `only_within` not those of reading and of libraries, which are not of the folder."""
    try:
        yield
    except OSError as error:
        if only_within:
            found = error.filename if isinstance(error.filename, str | os.PathLike) else None
            inside = found is not None and Path(found).absolute().is_relative_to(place.absolute())
            if not inside and error.errno not in _NO_ROOM:
                raise
            place = Path(found) if found is not None and inside else place
        raise InputError(f"{place}: cannot write there ({error.strerror}); name another place with {option}") from None


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
