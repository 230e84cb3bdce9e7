"""Rank, world size, the process group and what is agreed over it, the only place that knows them.

A launcher such as torchrun describes the group in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).
Without one there is a single process, and every function here is then free of communication.
"""

import datetime
import inspect
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sarigan.errors import EXIT_CODE, InputError, one_line
from sarigan.launcher import meet, watch_launcher

_has_met = False  # whether this process had a process group


class SharedInputError(InputError):
    """An `InputError` that every process raises; only the first reports it."""


def rank() -> int:
    """Index of this process among `world_size()`."""
    return _integer("RANK", 0)


def local_rank() -> int:
    """Index of this process on its machine."""
    return _integer("LOCAL_RANK", 0)


def world_size() -> int:
    """Number of processes that work together; InputError when the launcher's numbers make no sense."""
    size = _integer("WORLD_SIZE", 1)
    if size < 1:
        raise InputError(f"WORLD_SIZE must be at least 1, got {size}; it is set by the launcher, torchrun")
    if not 0 <= rank() < size:
        raise InputError(f"RANK must be from 0 to {size - 1} with WORLD_SIZE={size}, got {rank()}; the launcher sets both")
    return size


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device | None = None, timeout_seconds: float = 1800.0) -> Iterator[None]:
    """The group of all processes while the block runs; nothing for a single process or where a group exists already.

    Tensors of the CPU travel by gloo, tensors of a GPU by NCCL. `device` becomes the current one when it is a GPU.
    InputError when the processes do not find each other.
    """
    global _has_met
    if world_size() == 1 or torch.distributed.is_initialized():
        yield
        return
    watch_launcher()
    if device is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InputError(f"WORLD_SIZE={world_size()} but {', '.join(missing)} not set: start several processes with torchrun")
    timeout = datetime.timedelta(seconds=timeout_seconds)
    try:
        store = meet(rank(), world_size(), timeout)
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if nccl else "gloo", store=store, rank=rank(), world_size=world_size(), timeout=timeout
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{world_size()} processes did not meet at {place} ({reason})") from None
    _has_met = True
    try:
        yield
    except BaseException:
        # No orderly end: it would wait for ranks that may be gone. When torchrun sees that one has ended, it sends SIGTERM to
        # the others, which are about to print why they end: they ignore it.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    torch.distributed.destroy_process_group()


@contextmanager
def rank_main() -> Iterator[None]:
    """All that a process of a launcher does. An `InputError` becomes its line, printed once if all raise it, and exit code 2.

    Where there was a process group, the process ends with the block, not by the interpreter's end: there a thread of gloo may
    still drop the tensors of a collective, for which it needs the interpreter's lock. It gets none, and C++ aborts the process.
    """
    code: Any = None
    try:
        yield
    except InputError as error:
        if not isinstance(error, SharedInputError):
            prefix = f"rank {os.environ.get('RANK')}: " if os.environ.get("RANK", "0") != "0" else ""
            print(f"error: {prefix}{one_line(str(error))}", file=sys.stderr)
        elif is_main():
            print(f"error: {one_line(str(error))}", file=sys.stderr)
        code = EXIT_CODE
    except SystemExit as error:
        code = error.code
    except Exception:
        if not _has_met:
            raise
        sys.excepthook(*sys.exc_info())
        code = 1
    if _has_met:
        for child in multiprocessing.active_children():
            child.terminate()
        with suppress(OSError):  # their reader is gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code or 0)
    if code is not None:
        raise SystemExit(code)


@contextmanager
def raise_on_all_ranks() -> Iterator[None]:
    """An InputError on one rank is raised on every rank, with the line of the first rank that has one."""
    if world_size() == 1:
        yield
        return
    line = None
    try:
        yield
    except InputError as error:
        line = str(error)
    lines = gather_objects(line)
    found = [(index, text) for index, text in enumerate(lines) if text is not None]
    if found:
        index, text = found[0]
        only_there = len(found) < world_size() and index > 0
        raise SharedInputError(f"rank {index}: {text}" if only_there else text)


def store_client() -> Any:
    """A new connection to the launcher's store, for one thread, under a prefix that all ranks share. Every process calls it."""
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"], _integer("MASTER_PORT", 0), is_master=False, wait_for_workers=False
    )
    return torch.distributed.PrefixStore(f"sarigan/{from_main(secrets.token_hex(8))}", store)  # type: ignore[attr-defined]


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


def from_main(value: Any) -> Any:
    """What rank 0 passed, on every rank. Through pickle."""
    if world_size() == 1:
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class Vote:
    """The highest number that any process had named by the call before, so that no call waits for the others' answers."""

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None

    def cast(self, number: int) -> int:
        """Every process calls it equally often and gets the same answer; a single process gets its own at once."""
        if world_size() == 1:
            return number
        before = self.close()
        highest = torch.tensor(number)
        self._pending = (torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX, async_op=True), highest)
        return before

    def close(self) -> int:
        """The answer to the last call; 0 before the first."""
        if self._pending is None:
            return 0
        work, highest = self._pending
        self._pending = None
        work.wait()
        return int(highest)


def replicate(module: nn.Module, apart: Iterable[nn.Parameter] = ()) -> nn.Module:
    """`module` with rank 0's weights, and its gradients averaged over all processes in buckets during the backward pass.

    Only a backward pass through the returned module's `forward` does so. The parameters in `apart` keep gradients of their
    own. The module itself for a single process.
    """
    if world_size() == 1:
        return module
    excluded = {id(parameter) for parameter in apart}
    before = [parameter.requires_grad for parameter in module.parameters()]
    for parameter in module.parameters():  # those without requires_grad stay out of the buckets
        parameter.requires_grad_(id(parameter) not in excluded)
    # channels_last kernels of 1x1 have strides of two kinds, which the reducer copes with and remarks upon.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    settings: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
    replica = DistributedDataParallel(module, **settings)
    for parameter, requires_grad in zip(module.parameters(), before, strict=True):
        parameter.requires_grad_(requires_grad)
    return replica


def without_reduction(module: nn.Module) -> AbstractContextManager[Any]:
    """Forward and backward passes inside leave the gradients of a `replicate`d module to be reduced by a later one."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def _integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise InputError(f"{name} must be a whole number, got {text!r}; it is set by the launcher, torchrun") from None
