"""Checkpoint files: written whole or not at all, checked to the last bit, read without running code from them.

A file is PyTorch's zip archive with the SHA-256 of everything before it as the archive's comment, so that a file proves
itself wherever it is moved. <folder>/pointer.json names the newest and the best; it is a convenience for other programs
and what keeps the best from being removed: reading goes by the files themselves. Older formats are migrated step by step
(`MIGRATIONS`).
"""

import hashlib
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sarigan.errors import InputError
from sarigan.files.paths import kind_of, replace_file, replace_text, sync_folder
from sarigan.files.reading import read_json_object, reading

NAME_PATTERN = re.compile(r"checkpoint-(\d{8})\.pt")
POINTER_NAME = "pointer.json"
BEST_NAME = "best"  # in place of a file's name
_SEAL = b"sha256:"
_SEAL_LENGTH = len(_SEAL) + 64
_END_OF_ARCHIVE = b"PK\x05\x06"
_END_LENGTH = 22  # of the end record without a comment
FORMAT_VERSION = 2
SEALED_SINCE = 2
State = dict[str, Any]


def _from_0(old: State) -> State:
    state = {key: value for key, value in old.items() if key not in ("seen_images", "ema", "path_length_mean", "optimizers")}
    batch_size = old["config"]["training"]["batch_size"]
    state["step"], rest = divmod(int(old["seen_images"]), batch_size)
    if rest:
        raise InputError(f"seen_images {old['seen_images']} is no multiple of the batch size {batch_size}")
    constant = old["generator"]["synthesis.constant"]
    state["mean_path_length"] = torch.tensor(old["path_length_mean"], dtype=constant.dtype)
    state["ema_generator"] = old["ema"]
    for name in ("generator", "discriminator", "grouping"):
        state[f"{name}_optimizer"] = old["optimizers"].get(name)
    return state | {"seconds": 0.0, "platform": {}}


def _from_1(old: State) -> State:
    return old


MIGRATIONS: list[Callable[[State], State]] = [_from_0, _from_1]


def migrate(state: State, source: str) -> State:
    """The state in the present format, which `format_version` then says; InputError naming `source` when a part is missing."""
    version = state["format_version"]
    with reading(source, f"checkpoint of format {version}"):
        for migration in MIGRATIONS[version:]:
            state = migration(state)
    return {**state, "format_version": FORMAT_VERSION}


class DamagedCheckpointError(InputError):
    """A checkpoint file that is not what was once written, or no checkpoint at all."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """<folder>/checkpoint-<step>.pt, eight digits."""
    return folder / f"checkpoint-{step:08d}.pt"


def step_of(path: Path) -> int | None:
    """The step in a checkpoint's name; None for another name."""
    match = NAME_PATTERN.fullmatch(path.name)
    return int(match[1]) if match else None


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME_PATTERN.fullmatch(path.name))


def resolve_checkpoint(path: str | Path) -> Path:
    """A checkpoint file itself; of a run directory <run> the newest one, of <run>/best the best by `metrics.best`.

    InputError when there is none.
    """
    path = Path(path)
    if kind_of(path) == "file":
        return path
    if path.name == BEST_NAME and not path.exists():
        best = best_checkpoint(_checkpoint_folder(path.parent))
        if best is None:
            raise InputError(f"{path}: no checkpoint is marked as the best (metrics.names); {path.parent} means the newest")
        return best
    found = list_checkpoints(_checkpoint_folder(path))
    if not found:
        kind = "holds no checkpoint-*.pt" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: {kind}; give a checkpoint file or a run directory")
    return found[-1]


def _checkpoint_folder(path: Path) -> Path:
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write to a temporary file beside `path`, sync, rename. InputError when the disk is full or read-only."""

    def write(file: BinaryIO) -> None:
        torch.save({**state, "format_version": FORMAT_VERSION}, file)
        _seal(file)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, write)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"{path}: cannot save the checkpoint ({reason}); earlier checkpoints are untouched") from error


def load_checkpoint(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state of a checkpoint file, migrated to this version's format.

    InputError when it cannot be read or is of a newer format, DamagedCheckpointError when it is damaged or something else.
    """
    with reading(path, "checkpoint, truncated or damaged", damaged=DamagedCheckpointError):
        kind_of(path)  # a pipe would be waited for
        sealed = _check_seal(path)
        try:
            state = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError:  # PyTorch's own words tell how to run the code in the file
            raise ValueError("its pickle is damaged or holds more than tensors, numbers and texts") from None
        version = state.get("format_version") if isinstance(state, dict) else None
        if not isinstance(version, int) or version < 0:
            raise DamagedCheckpointError("not a checkpoint of this project (no format_version)")
        if version > FORMAT_VERSION:
            raise InputError(f"checkpoint format {version}, this version reads up to {FORMAT_VERSION}")
        if version >= SEALED_SINCE and not sealed:
            raise ValueError("no checksum")
        return migrate(state, str(path))


def is_sealed(path: Path) -> bool:
    """Whether a file ends as this project's checkpoints do. OSError when it cannot be read."""
    return _read_seal(path) is not None


def mark_best(path: Path, metric: str, value: float) -> None:
    """Name a checkpoint the best of its folder: it is kept until another one is."""
    pointer = read_pointer(path.parent)
    replace_text(path.parent / POINTER_NAME, _text({**pointer, "best": _entry(path) | {"metric": metric, "value": value}}))


def point_to_newest(path: Path) -> None:
    """Name a checkpoint the newest of its folder."""
    replace_text(path.parent / POINTER_NAME, _text({**read_pointer(path.parent), "newest": _entry(path)}))


def read_pointer(folder: Path) -> dict[str, Any]:
    """{"newest": {"file", "step", "sha256"}, "best": the same with "metric" and "value"}; what is missing is left out."""
    return read_json_object(folder / POINTER_NAME)


def best_checkpoint(folder: Path) -> Path | None:
    """The file that is marked as the best, if it is there."""
    best = best_entry(folder)
    return None if best is None else folder / best["file"]


def best_entry(folder: Path) -> dict[str, Any] | None:
    """What the pointer says of the best: file, step, sha256, metric, value; None unless all of that and the file are there."""
    best = read_pointer(folder).get("best")
    if not isinstance(best, dict) or not {"file", "step", "metric", "value"} <= best.keys():
        return None
    name = best["file"]
    there = isinstance(name, str) and NAME_PATTERN.fullmatch(name) and (folder / name).is_file()
    return best if there else None


def remove_old_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and the best, and what interrupted writes left."""
    best = best_checkpoint(folder)
    for path in list_checkpoints(folder)[:-keep]:
        if path != best:
            path.unlink()
    for path in folder.glob("*.tmp"):
        path.unlink()


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint to <name>.damaged, where nothing takes it for one."""
    place = path.with_name(path.name + ".damaged")
    os.replace(path, place)
    sync_folder(path.parent)
    return place


def _seal(file: BinaryIO) -> None:
    """Append the checksum as the comment of the zip archive just written."""
    file.flush()
    file.seek(-_END_LENGTH, os.SEEK_END)
    if file.read(4) != _END_OF_ARCHIVE:
        raise RuntimeError("the archive does not end as expected")
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", _SEAL_LENGTH))
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.write(_SEAL + digest.hexdigest().encode())


def _check_seal(path: Path) -> bool:
    """Whether the file ends with a checksum. ValueError when that checksum is wrong, BadZipFile when the CRC of a part is."""
    seal = _read_seal(path)
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise zipfile.BadZipFile("its parts are compressed, perhaps a decompression bomb")
    if seal is None:  # formats before the seal: PyTorch's reader skips the CRCs of the parts
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        return False
    digest, left = hashlib.sha256(), path.stat().st_size - _SEAL_LENGTH
    with open(path, "rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest() != seal:
        raise ValueError("wrong checksum of the file")
    return True


def _read_seal(path: Path) -> str | None:
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() < _SEAL_LENGTH:
            return None
        file.seek(-_SEAL_LENGTH, os.SEEK_END)
        end = file.read()
    return end.removeprefix(_SEAL).decode(errors="replace") if end.startswith(_SEAL) else None


def _entry(path: Path) -> dict[str, Any]:
    return {"file": path.name, "step": step_of(path), "sha256": _read_seal(path)}


def _text(pointer: dict[str, Any]) -> str:
    return json.dumps(pointer, indent=2) + "\n"
