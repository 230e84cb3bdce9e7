"""A phase: one loss, its parameters, its optimiser, and the steps it is due in. Timing is data."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarigan.training.randomness import Draws

Scalars = dict[str, Tensor]


@dataclass
class Shard:
    """What one round of a phase on one rank sees."""

    real_images: Tensor | None  # [n,3,R,R] in -1..1
    draws: Draws | None
    weight: float = 1.0  # of its mean loss in the mean over all shards: its samples * shards / batch


@dataclass
class Phase:
    """`loss(shard)` -> (scalar with gradient, scalars to log)."""

    name: str
    loss: Callable[[Shard], tuple[Tensor, Scalars]]
    module: nn.Module  # whose parameters need gradients meanwhile
    parameters: list[nn.Parameter]  # those the phase owns: only they are stepped
    optimizer: torch.optim.Optimizer
    interval: int = 1
    until_step: int | None = None  # not due from this step on
    batch_size: int = 0  # latents to draw for the whole batch; 0: none
    needs_real_images: bool = False
    needs_image_noise: bool = False
    uses_replica: bool = True  # the loss goes through a data-parallel replica, which averages gradients over ranks
    after: Callable[[Scalars], None] | None = None  # sees the scalars of the finished phase

    def __post_init__(self) -> None:
        owned = {id(p) for p in self.parameters}
        self.other_parameters = [p for p in self.module.parameters() if id(p) not in owned]  # of the module

    def is_due(self, step: int) -> bool:
        """Whether the phase runs in a step, counted from 0."""
        return step % self.interval == 0 and (self.until_step is None or step < self.until_step)
