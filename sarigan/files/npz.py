"""Arrays that a user brings in an .npz file, as numpy.savez writes it."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sarigan.errors import InputError

# What numpy and zipfile raise for other, damaged, encrypted or foreign files.
_READ_ERRORS = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, SyntaxError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """The arrays of these names. InputError naming the file and what is wrong; no code in the file is run."""
    wanted = f"{'an array' if len(names) == 1 else 'arrays'} {' and '.join(f'`{name}`' for name in names)}"
    try:
        with open(path, "rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise InputError(f"{path}: a single array (.npy); an .npz file with {wanted} is right: numpy.savez writes it")
            return [file[name] for name in names]
    except InputError:
        raise
    except _READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: no readable .npz file with {wanted} ({reason})") from None
