"""The random inputs of a phase: one vector z a sample, a function of (seed, phase, step)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sarigan.seeding import derive_seed


@dataclass
class StyleNoise:
    """Random inputs of N samples."""

    z: Tensor  # [N,D] ~ N(0,1)

    def __len__(self) -> int:
        return len(self.z)

    def shard(self, index: int, num_shards: int) -> "StyleNoise":
        """The samples index, index + S, index + 2S, ..."""
        return StyleNoise(self.z[index::num_shards])


class StyleNoiseSource:
    """Draws for the whole batch, from a generator of its own."""

    def __init__(self, seed: int, style_dim: int, device: torch.device, dtype: torch.dtype) -> None:
        self.seed, self.style_dim, self.device, self.dtype = seed, style_dim, device, dtype

    @cached_property
    def _source(self) -> torch.Generator:  # made when it is first used: a dry run's device has none
        return torch.Generator(self.device)

    def draw(self, phase: str, step: int, batch_size: int, attempt: int = 0) -> StyleNoise:
        """The inputs of one phase of one step; others in another attempt, after a roll-back."""
        self._source.manual_seed(derive_seed(self.seed, phase, step, attempt, "style"))
        shape = (batch_size, self.style_dim)
        return StyleNoise(torch.randn(shape, generator=self._source, device=self.device, dtype=self.dtype))
