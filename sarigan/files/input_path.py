"""What a user names to be read: looked at once, before a library opens it."""

import stat
from pathlib import Path

from sarigan.errors import InputError

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
