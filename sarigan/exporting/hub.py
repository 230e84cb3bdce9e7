"""`sarigan.from_pretrained`: an exported generator from a folder, from the package, or from the Hugging Face hub.

Like `load_exported` it needs neither the training code nor what that depends on; the hub needs the package huggingface_hub.
"""

import re
from pathlib import Path

import torch

from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME, load_exported
from sarigan.exporting.shipped import SHIPPED, shipped_folder
from sarigan.files.paths import kind_of
from sarigan.files.reading import reading
from sarigan.models.generator import Generator

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def from_pretrained(source: str | Path, device: str | torch.device = "cpu", revision: str | None = None) -> Generator:
    """The generator of an export, ready to call.

    source: a folder that `sarigan export` wrote, a model of the package (`avatars_64`), or OWNER/NAME on the hub; the first
    that there is. revision: a branch, tag or commit of the hub.
    InputError for anything else, without huggingface_hub, and when the hub does not give the two files.

        g = from_pretrained("avatars_64")
        g(torch.randn(4, g.config.z_dim)).images   # [4,3,32,32], about -1..1
    """
    name = str(source)
    if kind_of(Path(source)) is not None:
        return load_exported(source, device)
    if name in SHIPPED:
        return load_exported(shipped_folder(name), device)
    if not _HUB_ID.fullmatch(name):
        raise InputError(
            f"{name}: does not exist; give a folder that sarigan export wrote, a model of the package ({', '.join(SHIPPED)}),"
            " or OWNER/NAME of the Hugging Face hub"
        )
    return load_exported(_downloaded(name, revision), device)


def _downloaded(name: str, revision: str | None) -> Path:
    """The folder in the hub's own cache, with the two files."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InputError(f"{name}: no such folder; for the Hugging Face hub: pip install huggingface_hub") from None
    with reading(name, "model on the Hugging Face hub", f"it needs {CONFIG_NAME} and {WEIGHTS_NAME}"):
        return [Path(hf_hub_download(name, file, revision=revision)).parent for file in (WEIGHTS_NAME, CONFIG_NAME)][-1]
