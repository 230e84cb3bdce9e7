"""A generator as two files: generator.safetensors (the averaged weights) and generator.json (what to build for them).

Needs PyTorch and safetensors alone: neither the training code nor what it depends on is imported.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from sarigan.errors import InputError
from sarigan.files.paths import replace_file, replace_text
from sarigan.files.reading import read_bytes, read_json, reading
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig

WEIGHTS_NAME = "generator.safetensors"
CONFIG_NAME = "generator.json"
EXPORT_VERSION = 1
MAX_BYTES = 8 << 30


def is_exported(path: Path) -> bool:
    """Whether a folder holds an exported generator."""
    return (path / CONFIG_NAME).is_file()


def save_exported(generator: Generator, folder: Path, origin: dict[str, Any]) -> None:
    """Write both files; `origin` (say, checkpoint and thousands of images seen) is kept in the JSON for people."""
    weights = {name: value.detach().contiguous().cpu() for name, value in generator.state_dict().items()}
    content = save(weights)
    description = {
        "export_version": EXPORT_VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        "generator": dataclasses.asdict(generator.config),
        "origin": origin,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / WEIGHTS_NAME, lambda file: file.write(content))
        replace_text(folder / CONFIG_NAME, json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot write the export ({error.strerror})") from None


def load_exported(folder: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The generator of an export, ready to call: as `sarigan.load_generator`, without the training code.

    InputError when a file is missing, damaged, or of a newer version.
    """
    folder = Path(folder)
    hint = f"an exported generator is {CONFIG_NAME} beside {WEIGHTS_NAME}"
    with reading(folder, "exported generator", hint):
        description = read_json(folder / CONFIG_NAME, hint)
        if description["export_version"] > EXPORT_VERSION:
            raise InputError(f"{folder}: export version {description['export_version']}, this one reads {EXPORT_VERSION}")
        content = read_bytes(folder / WEIGHTS_NAME, MAX_BYTES)
        if hashlib.sha256(content).hexdigest() != description["sha256"]:
            raise InputError(f"{folder / WEIGHTS_NAME}: not the file that {CONFIG_NAME} describes, truncated or damaged")
        fields = dict(description["generator"])
        config = GeneratorConfig(**{**fields, "grouping": GroupingConfig(**fields["grouping"])})
        return Generator.from_weights(config, load(content), device)
