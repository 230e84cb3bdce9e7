"""How a run fails: when one of several processes raises an exception, all of them end, and one prints the line.

Out of memory: smaller passes are tried, to name the number of images that fits.
"""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sarigan import distributed
from sarigan.data.loader import dead_worker_error
from sarigan.distributed import SharedInputError
from sarigan.errors import EXIT_CODE, InputError
from sarigan.runs.watchdog import FAILURE_CODE, Watchdog
from sarigan.systems.system import Phase, Shard
from sarigan.training.trainer import Hook, Trainer

_COMMUNICATION = re.compile(r"gloo|nccl|connection|peer|socket|broken pipe|timed? ?out", re.IGNORECASE)
# Of errors that are no torch.OutOfMemoryError.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip


@contextmanager
def ending_together(watchdog: Watchdog) -> Iterator[None]:
    """What ends the block on this rank is made known to all. An InputError of another rank than 0 is printed by rank 0."""
    try:
        yield
    except SharedInputError:
        raise
    except InputError as error:
        _end_all(watchdog, str(error), EXIT_CODE)
        if distributed.rank() == 0:
            raise
        raise SharedInputError(str(error)) from error
    except Exception as error:
        # PyTorch reports a dead data worker from a signal handler, wherever the main thread happens to be.
        dead = dead_worker_error(error) if isinstance(error, RuntimeError) else None
        if dead is not None:
            _end_all(watchdog, str(dead), EXIT_CODE)
            raise (dead if distributed.rank() == 0 else SharedInputError(str(dead))) from None
        if distributed.world_size() > 1:
            if is_communication_error(error):
                watchdog.explain(error)
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            _end_all(watchdog, f"failed with {type(error).__name__}: {reason}", FAILURE_CODE)
        raise


def _end_all(watchdog: Watchdog, line: str, code: int) -> None:
    rank = distributed.rank()
    watchdog.close()  # what this rank has to say it says itself
    watchdog.post(f"rank {rank}: {line}" if rank else line, code)


def is_communication_error(error: Exception) -> bool:
    """Whether a collective failed, most likely because another rank did."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and _COMMUNICATION.search(str(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host under PyTorch's allocator, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in _MESSAGES)


@contextmanager
def explained_out_of_memory(trainer: Trainer) -> Iterator[None]:
    """Around `trainer.run`: turn an out-of-memory error into an InputError that names the setting that helps."""
    hook = None
    try:
        yield
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        hook = trainer.active_hook
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed pass
    raise (out_of_memory_error(trainer) if hook is None else hook_out_of_memory(trainer, hook)) from None


def hook_out_of_memory(trainer: Trainer, hook: Hook) -> InputError:
    """One line for an error outside the steps, in a hook: the steps themselves have enough memory."""
    name = type(hook).__name__
    remedy = f"lower {hook.memory_setting}" if hook.memory_setting else "free some"
    return InputError(f"out of memory on {trainer.device} in {name}, after step {trainer.state.step}; {remedy}")


def out_of_memory_error(trainer: Trainer) -> InputError:
    """One line with the largest number of images a pass that all phases run with, and the setting for it."""
    tried = trainer.plan.images_per_pass
    for module in trainer.system.networks.values():
        module.zero_grad(set_to_none=True)
    trainer.graphs = None  # recordings hold memory
    plain = "without training.cuda_graphs " if trainer.state.config.training.cuda_graphs else ""
    line = f"out of memory on {trainer.device} with {tried} images in a pass; {plain}"
    per_rank = trainer.batch_size // trainer.plan.num_ranks
    for images in [n for n in range(tried - 1, 0, -1) if per_rank % n == 0]:
        if all(_fits(trainer, phase, images) for phase in trainer.phases):
            rounds = per_rank // images
            return InputError(
                f"{line}{images} fit: training.max_images_per_pass={images} accumulates the same batch over {rounds} rounds"
            )
    return InputError(f"{line}not even one image fits: a smaller resolution or narrower networks would")


def _fits(trainer: Trainer, phase: Phase, images: int) -> bool:
    """Run a phase without reduction or update."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    batch = trainer.system.example_batch(images, trainer.device, trainer.dtype)
    draws = None if phase.draw is None else phase.draw("memory", 0, images, 0)
    network = trainer.system.networks[phase.network]
    try:
        # Past the replicas, which wait for the end of the reduction that was broken off.
        trainer.system.replicas.update(trainer.system.networks)
        trainer.gradients.accumulate(phase, [Shard(batch, draws)])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        network.zero_grad(set_to_none=True)
    return True
