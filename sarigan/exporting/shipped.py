"""Trained generators that come with the package: folders as `save_exported` writes them, by name."""

from pathlib import Path

from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME
from sarigan.files.paths import kind_of

SHIPPED_FOLDER = Path(__file__).resolve().parents[1] / "shipped"
SHIPPED = {"avatars_64": "the built-in faces at 64 px", "avatars_32": "the same at 32 px"}


def shipped_folder(name: str) -> Path:
    """The folder of a model of `SHIPPED`; InputError when the package was installed without its files."""
    folder = SHIPPED_FOLDER / name
    for file in (CONFIG_NAME, WEIGHTS_NAME):
        if kind_of(folder / file) != "file":
            raise InputError(
                f"{name}: this installation of sarigan has no weights of it (no {folder / file}); install the package whole, or"
                " give a run directory of your own"
            )
    return folder
