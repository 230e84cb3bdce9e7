"""A file of somebody else's model: told by its content, and read without running anything in it."""

import re
from pathlib import Path
from typing import Any

from sarigan.errors import InputError
from sarigan.files.checkpoint import is_sealed, load_checkpoint
from sarigan.files.paths import kind_of
from sarigan.files.reading import reading
from sarigan.importing.model import ImportedModel
from sarigan.importing.nvidia import is_nvidia, read_nvidia
from sarigan.importing.nvidia_pickle import read_network_pickle
from sarigan.importing.pickle_reader import RefusedGlobalError
from sarigan.importing.rosinality import is_rosinality, read_rosinality
from sarigan.importing.torch_file import read_archive, read_legacy

MAX_FILE_BYTES = 8 << 30
READ = (
    "a checkpoint of rosinality/stylegan2-pytorch or of SariGAN's release (.pt), or a network pickle of stylegan2-ada-pytorch"
    " or stylegan3 --cfg=stylegan2 (.pkl) is right"
)
# The magic number that opens PyTorch's older format, in any protocol.
_LEGACY_START = re.compile(rb"\x80.(\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", re.DOTALL)

# What a refused name tells of a file.
_NAMED_BY_GLOBAL = (
    ("dnnlib.tflib.", "a TensorFlow pickle of StyleGAN or StyleGAN2; legacy.py of stylegan2-ada-pytorch converts it"),
    ("tensorflow.", "a TensorFlow model"),
    ("keras.", "a Keras model"),
    ("torch.nn.", "a whole PyTorch module, which needs its code; a state dictionary is right"),
    ("pytorch_lightning.", "a checkpoint of PyTorch Lightning"),
    ("numpy.core.multiarray._reconstruct", "NumPy arrays in a pickle"),
    ("numpy._core.multiarray._reconstruct", "NumPy arrays in a pickle"),
)
# What a key at the top of a file, or in its generator, tells of it.
_NAMED_BY_KEY = (
    ("g_running", "a checkpoint of rosinality/style-based-gan-pytorch (StyleGAN)"),
    ("shared.weight", "a generator of BigGAN-PyTorch"),
    ("blocks.0.0.conv1.weight", "a generator of BigGAN-PyTorch"),
    ("latent_avg", "a checkpoint of an encoder such as pSp or e4e"),
    ("training_set_kwargs", "a pickle of NVIDIA's code without a generator"),
)


def read_foreign(path: str | Path) -> ImportedModel:
    """The model in a file; InputError in one line for what is none, is not read, or is damaged. Runs nothing of the file."""
    path = Path(path)
    if kind_of(path) != "file":
        raise InputError(f"{path}: {'a folder' if kind_of(path) else 'does not exist'}; {READ}")
    with reading(path, "model, truncated or damaged", hint=READ):
        try:
            return _model(_tree(path))
        except RefusedGlobalError as error:
            for start, name in _NAMED_BY_GLOBAL:
                if error.path.startswith(start):
                    raise InputError(f"{name} (its pickle wants to use {error.path[:100]}); {READ}") from None
            raise InputError(str(error)) from None


def load_state(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """The state of a checkpoint of this project, or the one that an import of somebody else's file would give."""
    if _is_foreign(path):
        model = read_foreign(path)
        return model.checkpoint_state(model.config(str(path)), str(path))
    return load_checkpoint(path, device)


def _is_foreign(path: Path) -> bool:
    """Whether a file is somebody else's, or none of this project's that is only damaged."""
    if kind_of(path) != "file":
        return False
    with reading(path, "file"):
        if is_sealed(path):
            return False
        with open(path, "rb") as file:
            if file.read(1) == b"\x80":  # of a pickle; checkpoints of this project are zip archives
                return True
    try:
        tree = _tree(path)
    except RefusedGlobalError:
        return True
    except Exception:
        return False
    return not isinstance(tree, dict) or "format_version" not in tree


def _tree(path: Path) -> Any:
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise InputError(f"holds {size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        return read_archive(path)
    if _LEGACY_START.match(start):
        return read_legacy(lambda: open(path, "rb"))
    return read_network_pickle(path)


def _model(tree: Any) -> ImportedModel:
    if isinstance(tree, dict) and "format_version" in tree:
        raise InputError("a checkpoint of this project, which needs no import")
    if is_nvidia(tree):
        return read_nvidia(tree)
    if is_rosinality(tree):
        return read_rosinality(tree)
    for key, name in _NAMED_BY_KEY:
        if isinstance(tree, dict) and key in tree:
            raise InputError(f"{name}, which is not read; {READ}")
    raise InputError(f"no model that is known here; {READ}")
