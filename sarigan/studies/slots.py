"""How many runs go at one time, and what each may use: one thread of a CPU, or a GPU, or as many as a run has processes."""

import os
from collections.abc import Mapping, Sequence

import torch

from sarigan.errors import InputError

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def slots(jobs: int | None, processes: int, gpus: Sequence[str]) -> list[Mapping[str, str]]:
    """The environment of every slot. jobs: slots; None: as many as there are GPUs for, or without any cores.

    InputError for less than one, or for a run of more processes than there are GPUs.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be at least 1, got {jobs}")
    if not gpus:
        return [ONE_THREAD] * (jobs or max(1, num_cores() // processes))
    shares = [gpus[start : start + processes] for start in range(0, len(gpus) - processes + 1, processes)]
    if not shares:
        raise InputError(f"processes: a run has {processes}, this machine has {len(gpus)} GPUs to give one to each")
    return [{"CUDA_VISIBLE_DEVICES": ",".join(shares[slot % len(shares)])} for slot in range(jobs or len(shares))]


def visible_gpus() -> Sequence[str]:
    """Numbers or names of this process's GPUs, as CUDA_VISIBLE_DEVICES has them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(index) for index in range(torch.cuda.device_count())]
    return [name.strip() for name in listed.split(",") if name.strip()][: torch.cuda.device_count()]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
