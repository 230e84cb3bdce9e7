"""Discarded passes before the first step over several processes, at a start and at every resume alike.

DistributedDataParallel sorts its buckets anew after its first iteration, by the order in which gradients arrived. The order
in which four ranks' numbers are summed depends on a number's place in its bucket, so a resumed run would differ in the last
bits unless it begins with the buckets that the uninterrupted one ended up with. Two passes of the same phases on the same
inputs settle them; no weight, optimiser or counter moves, and nothing here or in a step draws from a global generator.
"""

from typing import TYPE_CHECKING

import torch

from sarigan import distributed
from sarigan.training.phase import Shard

if TYPE_CHECKING:
    from sarigan.training.trainer import Trainer

NUM_PASSES = 2


def settle_buckets(trainer: "Trainer") -> None:
    """Run the discriminator's and the generator's phase twice on made-up inputs; nothing in a single process."""
    if distributed.world_size() == 1:
        return
    state = trainer.state
    size, images_per_rank = state.config.generator.resolution, 1
    for phase in trainer.phases:
        if phase.name not in ("discriminator", "generator"):
            continue
        for _ in range(NUM_PASSES):
            images = torch.zeros(images_per_rank, 3, size, size, device=trainer.device, dtype=trainer.dtype)
            draws = trainer.randomness.draw("warm-up", 0, images_per_rank)
            trainer.accumulate_gradients(phase, [Shard(images, draws)])
            phase.module.zero_grad(set_to_none=True)
