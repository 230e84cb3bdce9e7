"""Which image stands at which position of a run, and which positions a rank takes: functions of the seed, without state."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sarigan.seeding import derive_seed

Sample = tuple[int, bool]  # (index of the image, whether to mirror it)
PlacedSample = tuple[int, bool, int]  # with the position in the run


class InfiniteSampler:
    """Position p is image perm_e[p mod n] of epoch e = p // n, mirrored by a coin of its own.

    So a position holds the same sample on any number of ranks, with any number of rounds, and after a restart.
    """

    def __init__(self, num_images: int, seed: int, flip: bool) -> None:
        self.num_images, self.seed, self.flip = num_images, seed, flip
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def _draw_epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        def source(purpose: str) -> torch.Generator:
            return torch.Generator().manual_seed(derive_seed(self.seed, purpose, epoch))

        order = torch.randperm(self.num_images, generator=source("data order"))
        coins = torch.rand(self.num_images, generator=source("data flip")) < 0.5
        return order, coins

    def __getitem__(self, position: int) -> Sample:
        epoch, offset = divmod(position, self.num_images)
        order, coins = self._epoch(epoch)
        return int(order[offset]), self.flip and bool(coins[offset])


class StepBatches:
    """A batch sampler for `DataLoader`: the samples of one rank, batch after batch, from a global position on.

    A step takes global positions P .. P+B-1. They are dealt to S = ranks * rounds shards as s, s+S, s+2S, ...; this rank
    yields its `rounds` shards one after the other, B/ranks samples in all.
    """

    def __init__(
        self, sampler: InfiniteSampler, position: int, batch_size: int, rank: int, num_ranks: int, rounds: int
    ) -> None:
        self.sampler, self.position, self.batch_size = sampler, position, batch_size
        shards = num_ranks * rounds
        first = rank * rounds
        offsets = [np.arange(shard, batch_size, shards) for shard in range(first, first + rounds)]
        self.offsets = [int(offset) for offset in np.concatenate(offsets)]

    def __iter__(self) -> Iterator[list[PlacedSample]]:
        position = self.position
        while True:
            yield [(*self.sampler[position + offset], position + offset) for offset in self.offsets]
            position += self.batch_size
