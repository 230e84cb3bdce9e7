"""Edits and latents as files that `edit_groups.py` and `generate.py` write and read.

Edits are JSON, and anyone can write them by hand:
{"format": "sarigan-edits", "version": 1, "architecture": {...}, "edits": [
  {"layer": "8x8.up", "group": 3, "code": "z", "operation": "scale", "amount": 2.0},
  {"layer": "8x8.up", "group": 3, "code": "z", "operation": "move", "amount": 1.5, "values": [...], "channels": [...]},
  {"layer": "8x8.up", "channel": 7, "operation": "shift", "amount": -2.0}]}
`architecture` (the generator's configuration) and `channels` (of the group, when values are given for z) may be left out;
when they are there, they must be the generator's. Numbers are written so that they read back bit by bit.

Latents are an .npz: latents [N,L,w_dim] float32, seeds [N] where there are any, groups/<layer> [c] of every input channel.
"""

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.editing.seeds import LatentSource
from sarigan.errors import InputError
from sarigan.files.reading import read_json, read_npz, reading
from sarigan.layers.intervention import LARGEST, ChannelEdit, Intervention, check_place
from sarigan.models.generator import Generator

FORMAT, VERSION = "sarigan-edits", 1
FIELDS = ("layer", "group", "code", "operation", "amount", "values")
CHANNEL_FIELDS = ("layer", "channel", "operation", "amount")
TYPES = {"layer": str, "group": int, "channel": int, "code": str, "operation": str, "amount": (int, float)}
FileEdit = Intervention | ChannelEdit  # what a file can hold


def edits_to_dict(edits: Sequence[FileEdit], generator: Generator) -> dict[str, Any]:
    """The content of an edit file. InputError for an edit that does not fit, or with values of more than one sample."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "architecture": dataclasses.asdict(generator.config),
        "edits": [_edit_to_dict(edit, generator) for edit in edits],
    }


def save_edits(edits: Sequence[FileEdit], generator: Generator, path: Path) -> None:
    """Write an edit file; see `edits_to_dict`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(edits_to_dict(edits, generator), indent=1) + "\n")


def load_edits(path: Path, generator: Generator) -> list[FileEdit]:
    """The edits of a file, checked against the generator. InputError naming the file and the field."""
    content = read_json(path)
    with reading(path, "edit file"):
        return edits_from_dict(content, generator)


def edits_from_dict(content: Any, generator: Generator) -> list[FileEdit]:
    """The inverse of `edits_to_dict`; InputError naming the field."""
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("edits"), list):
        raise InputError(f'an edit file is {{"format": "{FORMAT}", "version": {VERSION}, "edits": [...]}}')
    if content.get("version") != VERSION:
        raise InputError(f"edits of version {content.get('version')}, this program reads {VERSION}")
    if "architecture" in content:
        differing = _differing(content["architecture"], dataclasses.asdict(generator.config))
        if differing:
            raise InputError(f"edits of another architecture; it differs in {', '.join(differing[:5])}")
    return [_edit_from_dict(entry, index, generator) for index, entry in enumerate(content["edits"])]


def group_channels(generator: Generator, layer: str, group: int) -> list[int]:
    """The input channels of a layer that belong to a group, ascending. InputError for a place that is not there."""
    check_place(layer, group, generator.synthesis.num_groups())
    return generator.grouped_layer(layer).grouping.membership()[:, group].nonzero().flatten().tolist()


def _edit_to_dict(edit: FileEdit, generator: Generator) -> dict[str, Any]:
    entry = edit.fields()
    if isinstance(edit, ChannelEdit):
        return entry
    channels = group_channels(generator, edit.layer, edit.group)
    if edit.values is not None:
        if edit.values.ndim != 1:
            raise InputError(f"edit of {edit.place}: a file holds values of one sample, got shape {tuple(edit.values.shape)}")
        entry["values"] = edit.values.tolist()
        if edit.code == "z":
            entry["channels"] = channels
    return entry


def _edit_from_dict(entry: Any, index: int, generator: Generator) -> FileEdit:
    where = f"edits[{index}]"
    if not isinstance(entry, dict):
        raise InputError(f"{where} must be an object, got {type(entry).__name__}")
    fields = CHANNEL_FIELDS if "channel" in entry else (*FIELDS, "channels")
    unknown = set(entry) - set(fields)
    if unknown:
        raise InputError(f"{where}: unknown field {sorted(unknown)[0]!r}; the fields are {', '.join(fields)}")
    for name, kind in TYPES.items():
        if name not in fields:
            continue
        if name not in entry:
            if name == "amount":
                continue
            raise InputError(f"{where}: field {name!r} is missing")
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):  # type: ignore[arg-type]
            raise InputError(f"{where}: wrong type of {name}: {entry[name]!r}")
    if "channel" in entry:
        edit = ChannelEdit(**{**entry, "amount": float(entry.get("amount", 1.0))})
        generator.synthesis.edits_by_layer([edit])
        return edit
    channels = group_channels(generator, entry["layer"], entry["group"])
    values = _numbers(entry.get("values"), where)
    if values is not None:
        biases = 2 if generator.config.style_biases else 1
        expected = (len(channels) if entry["code"] == "z" else 1) * biases
        place = f"group {entry['group']} of {entry['layer']}"
        if entry.get("channels", channels) != channels or (channels and len(values) != expected):
            raise InputError(f"{where}: {place} has other channels in this checkpoint ({len(channels)} of them)")
    arguments = {name: entry[name] for name in FIELDS[:-1] if name in entry}
    return Intervention(**{**arguments, "amount": float(entry.get("amount", 1.0))}, values=values)


def _numbers(values: Any, where: str) -> torch.Tensor | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise InputError(f"{where}: values must be a list of numbers")
    tensor = torch.tensor(values, dtype=torch.float64)
    if not bool((tensor.abs() <= LARGEST).all()):
        raise InputError(f"{where}: values must be finite numbers of 32 bits")
    return tensor


def _differing(theirs: Any, mine: dict[str, Any], prefix: str = "generator.") -> list[str]:
    if not isinstance(theirs, dict):
        return [prefix.rstrip(".")]
    names = []
    for key in sorted(theirs.keys() | mine.keys()):
        a, b = theirs.get(key), mine.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differing(a, b, f"{prefix}{key}.")
        elif a != b:
            names.append(f"{prefix}{key} ({a!r} there, {b!r} here)")
    return names


def save_latents(
    path: Path, generator: Generator, latents: LatentSource, seeds: Sequence[int] | None = None, batch_size: int = 16
) -> None:
    """Write latents [N,L,w_dim], `batch_size` at a time, with the generator's group assignments."""
    arrays = {}
    if seeds is not None:
        arrays["seeds"] = np.array(seeds, dtype=np.int64)
    for layer in generator.grouped_layers():
        arrays[f"groups/{layer.name}"] = layer.grouping.membership().argmax(dim=1).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    # As numpy.savez_compressed does, but for an array that is never whole in memory.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("latents.npy", "w", force_zip64=True) as member:
            shape = (len(latents), generator.num_latents, generator.config.w_dim)
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for start in range(0, len(latents), batch_size):
                member.write(latents[start : start + batch_size].detach().float().cpu().numpy().astype("<f4").tobytes())
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_latents(path: Path, generator: Generator) -> Tensor:
    """Latents [N,L,w_dim] on the generator's device; w [N,w_dim] is repeated for every layer. InputError naming the file."""
    array = read_npz(path, ["latents"])["latents"]
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path}: latents must be floating-point numbers, got {array.dtype}")
    wanted = (generator.num_latents, generator.config.w_dim)
    if array.ndim == 2 and array.shape[1] == wanted[1]:
        array = np.repeat(array[:, None], wanted[0], axis=1)
    if array.ndim != 3 or array.shape[1:] != wanted or not len(array):
        shape = f"(N, {wanted[0]}, {wanted[1]})"
        raise InputError(f"{path}: latents of another architecture, shape {array.shape}; this generator has {shape}")
    latents = torch.from_numpy(array).to(generator.mean_latent)
    if not bool(latents.isfinite().all()):
        raise InputError(f"{path}: latents must be finite {str(latents.dtype).removeprefix('torch.')} numbers")
    return latents
