"""Rank, world size and the process group, the only place that knows them.

A launcher such as torchrun describes the group in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).
Without one there is a single process, and every function here is then free of communication.
"""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sarigan.errors import InputError


def rank() -> int:
    """Index of this process among `world_size()`."""
    return _integer("RANK", 0)


def local_rank() -> int:
    """Index of this process on its machine."""
    return _integer("LOCAL_RANK", 0)


def world_size() -> int:
    """Number of processes that work together."""
    return _integer("WORLD_SIZE", 1)


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def require_single_process() -> None:
    """InputError under a launcher with several processes."""
    if world_size() > 1:
        raise InputError(f"WORLD_SIZE={world_size()}: training runs in one process; start it without a launcher")


@contextmanager
def process_group(device: torch.device, timeout_seconds: float = 1800.0) -> Iterator[None]:
    """The group of all processes while the block runs: NCCL on GPUs, gloo on CPUs; nothing for a single process."""
    if world_size() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=datetime.timedelta(seconds=timeout_seconds)
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place; the same on every rank."""
    if world_size() > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def gather_objects(value: Any) -> list[Any]:
    """What every process passed, in rank order, on every rank. Through pickle: for small values."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise InputError(f"{name} must be a whole number, got {text!r}; it is set by the launcher, torchrun") from None
