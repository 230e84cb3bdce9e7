"""Which device this process computes on, and copies to it that the host does not wait for."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError


def resolve_device(name: str, setting: str) -> torch.device:
    """`auto` (CUDA where there is a GPU), `cpu`, `cuda` or `cuda:N` -> the device of this process.

    A GPU comes with its index, that of the local rank unless N is given, and becomes PyTorch's current device.
    InputError that names `setting` for another name, for a GPU that is not there and for one GPU under several processes.
    """
    if name == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name):
        raise InputError(f"{setting} must be auto, cpu, cuda or cuda:N, got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    several = distributed.world_size() > 1
    if several and name != "cuda":
        raise InputError(f"{setting} must be auto, cpu or cuda with several processes, got {name}")
    if not torch.cuda.is_available():
        raise InputError(f"{setting} must be auto or cpu where PyTorch sees no CUDA device, got {name}")
    index = int(name[len("cuda:") :] or distributed.local_rank())
    if index >= torch.cuda.device_count():
        remedy = f"start at most {torch.cuda.device_count()} processes on a machine" if several else "the first is cuda:0"
        raise InputError(
            f"{setting}: PyTorch sees {torch.cuda.device_count()} CUDA devices, too few for cuda:{index}; {remedy}"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def to_device(parts: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Tensors of the host on the device; on a GPU they are views of one that travels in one copy from pinned memory."""
    if device.type != "cuda" or not parts:
        return [part.to(device, dtype) for part in parts]
    sizes = [part.numel() for part in parts]
    joined = torch.empty(sum(sizes), dtype=dtype, pin_memory=True)
    torch.cat([part.flatten() for part in parts], out=joined)
    pieces = joined.to(device, non_blocking=True).split(sizes)
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
