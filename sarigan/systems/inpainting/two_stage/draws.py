"""The random inputs of a phase of CA and AN, drawn for the whole batch from (seed, phase, step)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sarigan.seeding import derive_seed


@dataclass
class TwoStageDraws:
    """Random inputs of N samples."""

    shares: Tensor  # [N] in 0..1: where between real and completed image the gradient penalty is taken
    positions: Tensor | None  # [N,K] in 0..1, of the attentive normalisation

    def __len__(self) -> int:
        return len(self.shares)

    def shard(self, index: int, num_shards: int) -> "TwoStageDraws":
        """The samples index, index + S, index + 2S, ..."""
        positions = None if self.positions is None else self.positions[index::num_shards]
        return TwoStageDraws(self.shares[index::num_shards], positions)


class TwoStageRandomness:
    """Draws of `num_positions` for each sample. `shared`: a batch has the same, as in the released code of AN."""

    def __init__(self, seed: int, num_positions: int, shared: bool, device: torch.device, dtype: torch.dtype) -> None:
        self.seed, self.num_positions, self.shared, self.device, self.dtype = seed, num_positions, shared, device, dtype

    @cached_property
    def _source(self) -> torch.Generator:  # made when it is first used: a dry run's device has none
        return torch.Generator(self.device)

    def draw(self, phase: str, step: int, batch_size: int, attempt: int = 0) -> TwoStageDraws:
        """The inputs of one phase of one step for the whole batch; others in another attempt, after a roll-back."""
        self._source.manual_seed(derive_seed(self.seed, phase, step, attempt, "two stages"))
        shares = self._uniform(batch_size)
        if not self.num_positions:
            return TwoStageDraws(shares, None)
        positions = self._uniform(1 if self.shared else batch_size, self.num_positions)
        return TwoStageDraws(shares, positions.expand(batch_size, -1))

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._source, device=self.device, dtype=self.dtype)
