"""Out of memory: smaller passes are tried, to name the number of images that fits."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sarigan.errors import InputError
from sarigan.systems.system import Phase, Shard
from sarigan.training.trainer import Hook, Trainer

# Of errors that are no torch.OutOfMemoryError.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip


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
    line = f"out of memory on {trainer.device} with {tried} images in a pass"
    per_rank = trainer.batch_size // trainer.plan.num_ranks
    for images in [n for n in range(tried - 1, 0, -1) if per_rank % n == 0]:
        if all(_fits(trainer, phase, images) for phase in trainer.phases):
            rounds = per_rank // images
            return InputError(
                f"{line}; {images} fit: training.max_images_per_pass={images} accumulates the same batch over {rounds} rounds"
            )
    return InputError(f"{line}; not even one image fits: a smaller resolution or narrower networks would")


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
