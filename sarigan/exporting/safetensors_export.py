"""A generator as two files: generator.safetensors (the averaged weights) and generator.json (what to build for them).

Beside them, where it was asked for, discriminator.safetensors: only a training that begins with the generator needs it.

Needs PyTorch and safetensors alone: neither the training code nor what it depends on is imported.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load, save
from torch import Tensor

from sarigan.errors import InputError
from sarigan.files.paths import kind_of, replace_file, replace_text
from sarigan.files.reading import read_bytes, read_json, reading
from sarigan.models.class_conditional_generator import ClassConditionalGenerator
from sarigan.models.generator import Generator

WEIGHTS_NAME = "generator.safetensors"
CONFIG_NAME = "generator.json"
DISCRIMINATOR_NAME = "discriminator.safetensors"
EXPORT_VERSION = 3  # 1: float32 or float64 alone; 2: also float16; 3: also other generators than the style-based one
MAX_BYTES = 8 << 30
STYLE = Generator.KIND  # the kind of an export that names none
GENERATORS: dict[str, type[Generator]] = {made.KIND: made for made in (Generator, ClassConditionalGenerator)}


def is_exported(path: Path) -> bool:
    """Whether a folder holds an exported generator."""
    return kind_of(path / CONFIG_NAME) == "file"


def half_weights(generator: Generator) -> dict[str, Tensor]:
    """The weights rounded to float16, but for the parameters of the groupings: their argmax has to stay what it is.

    InputError naming the first weight that is too large for float16.
    """
    exact = {id(parameter) for parameter in generator.grouping_parameters()}
    exact_names = {name for name, parameter in generator.named_parameters() if id(parameter) in exact}
    return _half(generator.state_dict(), exact_names)


def _half(weights: Mapping[str, Tensor], exact_names: Collection[str] = ()) -> dict[str, Tensor]:
    rounded = {}
    for name, value in weights.items():
        rounded[name] = value.half() if value.is_floating_point() and name not in exact_names else value
        if not bool(rounded[name].isfinite().all()):
            raise InputError(f"{name} reaches {float(value.abs().max()):g}, float16 ends at 65504; export without --half")
    return rounded


def save_exported(
    generator: Generator,
    folder: Path,
    origin: dict[str, Any],
    half: bool = False,
    discriminator: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the files. half: as `half_weights`. discriminator: its weights, which go into a file of their own.

    `origin` is kept in the JSON: for people (checkpoint, thousands of images seen), and for commands the run's `config`.
    """
    content = _content(half_weights(generator) if half else generator.state_dict())
    kind = generator.KIND
    description = {
        "export_version": (2 if half else 1) if kind == STYLE else 3,
        **({} if kind == STYLE else {"kind": kind}),
        "sha256": hashlib.sha256(content).hexdigest(),
        "generator": dataclasses.asdict(generator.config),
        "origin": origin,
    }
    contents = {WEIGHTS_NAME: content}
    if discriminator is not None:
        contents[DISCRIMINATOR_NAME] = _content(_half(discriminator) if half else discriminator)
        description["discriminator_sha256"] = hashlib.sha256(contents[DISCRIMINATOR_NAME]).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in contents.items():
            replace_file(folder / name, functools.partial(_write, value))
        if discriminator is None:
            (folder / DISCRIMINATOR_NAME).unlink(missing_ok=True)  # of another generator, exported here before
        replace_text(folder / CONFIG_NAME, json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot write the export ({error.strerror})") from None


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _content(weights: Mapping[str, Tensor]) -> bytes:
    return save({name: value.detach().contiguous().cpu() for name, value in weights.items()})


def _weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Of a file by its hash; float16 becomes float32."""
    content = read_bytes(path, MAX_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: not the file that {CONFIG_NAME} describes, truncated or damaged")
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in load(content).items()}


def load_discriminator_weights(folder: str | Path) -> dict[str, Tensor] | None:
    """Those that an export holds, float16 as float32; None where it holds none. InputError as `load_exported`."""
    folder = Path(folder)
    with reading(folder, "exported discriminator"):
        sha256 = read_json(folder / CONFIG_NAME, "").get("discriminator_sha256")
        return None if sha256 is None else _weights(folder / DISCRIMINATOR_NAME, sha256)


def load_exported(folder: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The generator of an export, ready to call: as `sarigan.load_generator`, without the training code.

    Weights of float16 become float32. InputError when a file is missing, damaged, or of a newer version.
    """
    return load_exported_and_origin(folder, device)[0]


def load_exported_and_origin(folder: str | Path, device: str | torch.device = "cpu") -> tuple[Generator, dict[str, Any]]:
    """`load_exported`, and the `origin` that `save_exported` was given."""
    folder = Path(folder)
    hint = f"an exported generator is {CONFIG_NAME} beside {WEIGHTS_NAME}"
    with reading(folder, "exported generator", hint):
        description = read_json(folder / CONFIG_NAME, hint)
        if description["export_version"] > EXPORT_VERSION:
            raise InputError(f"{folder}: export version {description['export_version']}, this one reads {EXPORT_VERSION}")
        weights = _weights(folder / WEIGHTS_NAME, description["sha256"])
        kind = description.get("kind", STYLE)
        if kind not in GENERATORS:
            raise InputError(f"{folder / CONFIG_NAME}: kind must be one of {', '.join(GENERATORS)}, got {kind!r}")
        made = GENERATORS[kind]
        config = made.config_from(dict(description["generator"]))
        return made.from_weights(config, weights, device), dict(description.get("origin", {}))
