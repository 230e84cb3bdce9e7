"""What a user means by a path or a name of something trained."""

from pathlib import Path

from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import WEIGHTS_NAME, is_exported
from sarigan.exporting.shipped import SHIPPED, shipped_folder
from sarigan.files.checkpoint import BEST_NAME, resolve_checkpoint
from sarigan.files.paths import kind_of


def find_source(source: str | Path) -> Path:
    """The file or folder that a user means by `source`; the first of these that there is.

    A checkpoint file, a run directory (its newest checkpoint), <run>/best, the folder of an export, or the name of a model of
    the package. InputError with the names when it is none of them, and when the package lacks the weights.
    """
    path = Path(source)
    kind = kind_of(path)
    if kind == "file" and path.name == WEIGHTS_NAME:
        path, kind = path.parent, "folder"
    if kind == "folder" and is_exported(path):
        return path
    if kind is None and path.name != BEST_NAME:
        if str(source) in SHIPPED:
            return shipped_folder(str(source))
        raise InputError(
            f"{path}: does not exist; give a checkpoint file, a run directory, the folder of an export, or a model of the"
            f" package: {', '.join(SHIPPED)}"
        )
    return resolve_checkpoint(path)
