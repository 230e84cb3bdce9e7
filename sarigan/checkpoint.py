"""Checkpoint files: written whole or not at all, read without running code from them."""

import os
import pickle
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from sarigan.errors import InputError

FORMAT_VERSION = 1
NAME_PATTERN = re.compile(r"checkpoint-(\d{8})\.pt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """<folder>/checkpoint-<step>.pt, eight digits."""
    return folder / f"checkpoint-{step:08d}.pt"


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME_PATTERN.fullmatch(path.name))


def resolve_checkpoint(path: str | Path) -> Path:
    """A checkpoint file itself, or the newest one of a run directory; InputError when there is none."""
    path = Path(path)
    if path.is_file():
        return path
    found = list_checkpoints(path / "checkpoints") or list_checkpoints(path)
    if not found:
        kind = "holds no checkpoint-*.pt" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {kind}; give a checkpoint file or a run directory")
    return found[-1]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write to a temporary file beside `path`, sync, rename. InputError when the disk is full or read-only."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"format_version": FORMAT_VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"{path}: cannot save the checkpoint ({reason}); earlier checkpoints are untouched") from error


def load_checkpoint(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state of a checkpoint file; InputError when it is not one, is damaged, or is of a newer format."""
    try:
        # PyTorch's reader skips the checksums: bits that rotted in a tensor would load as other weights.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable checkpoint, truncated or damaged ({reason[:120]})") from None
    version = state.get("format_version") if isinstance(state, dict) else None
    if version is None:
        raise InputError(f"{path}: not a checkpoint of this project (no format_version)")
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: checkpoint format {version}, this version reads {FORMAT_VERSION}")
    return state


def remove_old_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and what interrupted writes left."""
    for path in list_checkpoints(folder)[:-keep]:
        path.unlink()
    for path in folder.glob("checkpoint-*.pt.tmp"):
        path.unlink()
