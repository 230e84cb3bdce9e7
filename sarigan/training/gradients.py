"""The gradients of one phase: its shards, forward and backward for each, reduced over ranks.

A phase's batch is cut into shards by position: shard s of S has the samples s, s+S, s+2S, ... Rank r has a run of them, one a
round; the processes that share a CPU (`sarigan.training.cpu_processes`) take turns in that run.
"""

import math
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import nn

from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.systems.system import Phase, Shard, System
from sarigan.training.augmentation.augmentation import Augmentation
from sarigan.training.batch_plan import BatchPlan
from sarigan.training.nonfinite import poison_nonfinite
from sarigan.training.scalars import ScalarSums


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes, the same on every rank, in one reduction.

    Every process calls it with gradients of the same parameters, all of one type and device. Nothing for a single process.
    """
    if distributed.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    means = distributed.sum_over_ranks(flat) / distributed.world_size()
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class PhaseGradients:
    """Leaves in `.grad` the gradients of the phases of a system; makes no step. `process` of `num_processes` does its share."""

    def __init__(
        self, system: System, plan: BatchPlan, loss_scale: float, augmentation: Augmentation, process: int = 0,
        num_processes: int = 1,
    ) -> None:  # fmt: skip
        self.system, self.plan, self.loss_scale, self.augmentation = system, plan, loss_scale, augmentation
        self.process, self.num_processes = process, num_processes
        # Lists, because walking through a network's modules costs milliseconds.
        self.parameters = {name: list(network.parameters()) for name, network in system.networks.items()}
        self.other_parameters = {
            phase.name: list(set(self.parameters[phase.network]) - set(phase.parameters)) for phase in system.phases
        }

    def accumulate(self, phase: Phase, shards: list[Shard]) -> ScalarSums:
        """This process's part of the gradients of the mean loss over all shards; the scalars of its rounds.

        Only the phase's own parameters have some. Over ranks they are reduced in the last round.
        """
        for name, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(name == phase.network)
        replica = self.system.replicas[phase.network]
        sums = ScalarSums()
        own = shards[self.process :: self.num_processes]
        for number, shard in enumerate(own, start=1):
            with nullcontext() if number == len(own) else distributed.without_reduction(replica):
                loss, scalars = phase.loss(shard)
                poison_nonfinite(loss, self.loss_scale * shard.weight / len(shards)).backward()
            sums.add(scalars, shard.weight)
        for parameter in self.other_parameters[phase.name]:
            parameter.grad = None
        if not phase.uses_replica:
            average_gradients(phase.parameters)
        if self.loss_scale != 1:
            torch._foreach_mul_([p.grad for p in phase.parameters if p.grad is not None], 1 / self.loss_scale)
        return sums

    def shards(self, phase: Phase, batch: Batch | None, step: int, attempt: int) -> list[Shard]:
        """This rank's part of a phase. `attempt` counts roll-backs: each draws other random inputs."""
        shards = self._plain_shards(phase, batch, step, attempt)
        self.augmentation.prepare(shards, phase, step, attempt)
        return shards

    def _plain_shards(self, phase: Phase, batch: Batch | None, step: int, attempt: int) -> list[Shard]:
        if phase.draw is None and not phase.needs_real_images:
            return [Shard(None, None)]
        rounds = self.num_shards(phase)
        reals: list[Batch | None] = [None] * rounds
        if phase.needs_real_images:
            assert batch is not None
            reals = list(batch.chunk(rounds))
        if phase.draw is None:
            return [Shard(part, None) for part in reals]
        draws = phase.draw(phase.name, step, phase.batch_size, attempt)
        num_shards = distributed.world_size() * rounds
        shards = []
        for index, part in enumerate(reals):
            position = distributed.rank() * rounds + index
            drawn = draws.shard(position % phase.batch_size, num_shards)
            # A shard beyond the batch takes part with weight zero: every rank must meet in the reduction.
            size = len(drawn) if position < phase.batch_size else 0
            shards.append(Shard(part, drawn, weight=size * num_shards / phase.batch_size))
        return shards

    def num_shards(self, phase: Phase) -> int:
        """Of this rank. Without real images the fewest that hold no more samples than the whole batch's, one a process."""
        if phase.draw is None and not phase.needs_real_images:
            return 1
        rounds = self.plan.num_rounds * self.num_processes
        if phase.needs_real_images:
            return rounds
        images_per_shard = self.plan.images_per_pass / self.num_processes
        fewest = max(1, math.ceil(phase.batch_size / (distributed.world_size() * images_per_shard)))
        return max(fewest, min(self.num_processes, phase.batch_size))
