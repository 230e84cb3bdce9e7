"""The gradients of one phase: its shards, forward and backward for each, reduced over ranks."""

import math
from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import nn

from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.systems.system import Phase, Shard, System
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
    """Leaves in `.grad` the gradients of the phases of a system; makes no step."""

    def __init__(self, system: System, plan: BatchPlan, loss_scale: float) -> None:
        self.system, self.plan, self.loss_scale = system, plan, loss_scale
        # Lists, because walking through a network's modules costs milliseconds.
        self.parameters = {name: list(network.parameters()) for name, network in system.networks.items()}
        self.other_parameters = {
            phase.name: list(set(self.parameters[phase.network]) - set(phase.parameters)) for phase in system.phases
        }

    def accumulate(self, phase: Phase, shards: list[Shard]) -> ScalarSums:
        """Gradients of the mean loss over all shards of all ranks, of the phase's parameters alone; the rounds' scalars.

        The reduction over ranks is in the last round.
        """
        if not self.system.opponents:  # with them no loss reaches a network that it does not train
            for name, parameters in self.parameters.items():
                for parameter in parameters:
                    parameter.requires_grad_(name == phase.network)
        replica = self.system.replicas[phase.network]
        sums = ScalarSums()
        for number, shard in enumerate(shards, start=1):
            with nullcontext() if number == len(shards) else distributed.without_reduction(replica):
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

    def shards(self, phase: Phase, batch: Batch, step: int, attempt: int) -> list[Shard]:
        """This rank's part of a phase, a shard a round. `attempt` counts roll-backs: each draws other random inputs."""
        if phase.draw is None and not phase.needs_real_images:
            return [Shard(None, None)]
        if phase.draw is None:
            return [Shard(part, None) for part in batch.chunk(self.plan.num_rounds)]
        draws = phase.draw(phase.name, step, phase.batch_size, attempt)
        rounds = self.plan.num_rounds if phase.needs_real_images else self._rounds_for(phase.batch_size)
        reals = batch.chunk(rounds) if phase.needs_real_images else [None] * rounds
        num_shards = distributed.world_size() * rounds
        shards = []
        for index, part in enumerate(reals):
            position = distributed.rank() * rounds + index
            drawn = draws.shard(position % phase.batch_size, num_shards)
            # A shard beyond the batch takes part with weight zero: every rank must meet in the reduction.
            size = len(drawn) if position < phase.batch_size else 0
            shards.append(Shard(part, drawn, weight=size * num_shards / phase.batch_size))
        return shards

    def _rounds_for(self, batch_size: int) -> int:
        """The fewest rounds that hold no more images a pass than the whole batch's do."""
        return max(1, math.ceil(batch_size / (distributed.world_size() * self.plan.images_per_pass)))
