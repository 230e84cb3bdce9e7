"""Out of memory: how many images a pass would fit, found by trying."""

from typing import TYPE_CHECKING

import torch

from sarigan.errors import InputError
from sarigan.training.phase import Phase, Shard

if TYPE_CHECKING:
    from sarigan.training.hooks import Hook
    from sarigan.training.trainer import Trainer

# Of errors that are no torch.OutOfMemoryError.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host under PyTorch's allocator, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in _MESSAGES)


def hook_out_of_memory(trainer: "Trainer", hook: "Hook") -> InputError:
    """One line for what happens beside the steps, which have run with the memory there is."""
    name = type(hook).__name__
    remedy = f"lower {hook.memory_setting}" if hook.memory_setting else "free some"
    return InputError(f"out of memory on {trainer.device} in {name}, after step {trainer.state.step}; {remedy}")


def out_of_memory_error(trainer: "Trainer") -> InputError:
    """One line with the largest number of images a pass that all phases run with, and the setting for it.

    Call it outside the `except` block, whose traceback holds the tensors of the failed pass.
    """
    tried = trainer.plan.images_per_pass
    for module in (trainer.state.generator, trainer.state.discriminator):
        module.zero_grad(set_to_none=True)
    line = f"out of memory on {trainer.device} with {tried} images in a pass"
    per_rank = trainer.batch_size // trainer.plan.num_ranks
    for images in [n for n in range(tried - 1, 0, -1) if per_rank % n == 0]:
        if all(_fits(trainer, phase, images) for phase in trainer.phases):
            rounds = per_rank // images
            return InputError(
                f"{line}; {images} fit: training.max_images_per_pass={images} accumulates the same batch over {rounds} rounds"
            )
    return InputError(f"{line}; not even one image fits: a smaller resolution or generator.channel_base would")


def _fits(trainer: "Trainer", phase: Phase, images: int) -> bool:
    """Run a phase without reduction or update."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    state, size = trainer.state, trainer.state.config.generator.resolution
    real = torch.zeros(images, 3, size, size, device=trainer.device, dtype=trainer.dtype) if phase.needs_real_images else None
    draws = trainer.randomness.draw("memory", 0, images, phase.needs_image_noise) if phase.batch_size else None
    try:
        # Past the replicas, which wait for the end of the reduction that was broken off.
        state.objective.trained_generator, state.objective.trained_discriminator = state.generator, state.discriminator
        trainer.accumulate_gradients(phase, [Shard(real, draws)])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        phase.module.zero_grad(set_to_none=True)
    return True
