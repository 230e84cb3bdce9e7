"""Exponential moving average of the generator's weights, its decay given as a half-life in images (Karras et al. 2018)."""

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
    """Keeps `module`, a copy of the source whose parameters (group logits included) trail behind it; buffers are its own."""

    def __init__(self, source: ModuleT) -> None:
        self.module: ModuleT = copy.deepcopy(source).eval().requires_grad_(False)
        self._averages: list[Tensor] = list(self.module.parameters())
        self._source, self._parameters = source, _parameters(source)

    @torch.no_grad()
    def update(self, source: ModuleT, decay: float) -> None:
        """average <- decay * average + (1 - decay) * source, for every parameter."""
        if source is not self._source:
            self._source, self._parameters = source, _parameters(source)
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)


def _parameters(module: nn.Module) -> list[Tensor]:
    """A walk through a network takes as long as its update."""
    return list(module.parameters())
