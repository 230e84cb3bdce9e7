"""Every random input of a phase of a class-conditional system, drawn for the whole batch from (seed, phase, step)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sarigan.models.mapping import draw_labels
from sarigan.seeding import derive_seed


@dataclass
class ClassDraws:
    """Random inputs of N samples; N is the batch, or a shard's part of it."""

    z: Tensor  # [N,z_dim]
    labels: Tensor  # [N]

    def __len__(self) -> int:
        return len(self.z)

    def shard(self, index: int, num_shards: int) -> "ClassDraws":
        """The samples index, index + S, index + 2S, ..."""
        part = slice(index, None, num_shards)
        return ClassDraws(self.z[part], self.labels[part])


class ClassRandomness:
    """Draws z, standard normal, and labels by the classes' shares of the training images."""

    def __init__(self, seed: int, z_dim: int, shares: Sequence[float], device: torch.device, dtype: torch.dtype) -> None:
        self.seed, self.z_dim, self.shares, self.device, self.dtype = seed, z_dim, shares, device, dtype

    @cached_property
    def _source(self) -> torch.Generator:  # made when it is first used: a dry run's device has none
        return torch.Generator(self.device)

    def draw(self, phase: str, step: int, batch_size: int, attempt: int = 0) -> ClassDraws:
        """The inputs of one phase of one step for the whole batch; others in another attempt, after a roll-back."""
        key: tuple[int | str, ...] = (self.seed, phase, step)
        if attempt:
            key = (*key, "attempt", attempt)
        self._source.manual_seed(derive_seed(*key))
        z = torch.randn(batch_size, self.z_dim, generator=self._source, device=self.device, dtype=self.dtype)
        # On the CPU, so that every device sees the same classes.
        labels = draw_labels(self.shares, batch_size, derive_seed(*key, "labels"))
        return ClassDraws(z, labels.to(self.device, non_blocking=True))
