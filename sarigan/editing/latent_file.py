"""Latents in a file: an .npz that any program with numpy reads, and `generate.py --latents` takes back.

latents [N,L,w_dim] float32; seeds [N] where there are any; groups/<layer> [c], the group of every input channel.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sarigan.editing.seeds import LatentSource
from sarigan.errors import InputError
from sarigan.files.reading import read_npz
from sarigan.models.generator import Generator


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
