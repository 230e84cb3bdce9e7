"""Exponential moving average of a network's weights, its decay given as a half-life in images (Karras et al. 2018)."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def ema_decay(batch_size: int, half_life_kimg: float, seen_kimg: float, ramp_up: float | None = None) -> float:
    """0.5^(batch / half-life) for one step of `batch_size` images; the half-life is at most `ramp_up` * seen images."""
    if ramp_up is not None:
        half_life_kimg = min(half_life_kimg, seen_kimg * ramp_up)
    return 0.5 ** (batch_size / max(half_life_kimg * 1000, 1e-8))


class ExponentialMovingAverage(Generic[ModuleT]):
    """Holds `module`, a copy whose parameters (group logits included) are averages of the source's. Buffers are not."""

    def __init__(self, source: ModuleT) -> None:
        # Tensors are cloned beforehand, because `deepcopy` cannot copy those without contents (`diagnosis.scaling`).
        clones: dict[int, Tensor] = {id(p): nn.Parameter(p.detach().clone()) for p in source.parameters()}
        clones |= {id(buffer): buffer.detach().clone() for buffer in source.buffers()}
        self.module: ModuleT = copy.deepcopy(source, clones).eval().requires_grad_(False)
        # Lists, because a walk through a network takes as long as its update.
        self._averages: list[Tensor] = list(self.module.parameters())
        self._parameters: list[Tensor] = list(source.parameters())

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """average <- decay * average + (1 - decay) * source, for every parameter."""
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)
