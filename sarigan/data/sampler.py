"""The infinite order of the training images, a function of (seed, position), and its deal to ranks and rounds."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sarigan.seeding import derive_seed

Sample = tuple[int, bool]  # (index of the image, whether to mirror it)
PlacedSample = tuple[int, bool, int]  # with the position in the run


class Sampler(Protocol):
    """Which sample stands at a position of the run."""

    def __getitem__(self, position: int, /) -> Sample: ...


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


class BalancedSampler:
    """Every K positions hold each of the K classes once, in an order of their own; each class has an infinite order.

    labels [n]: the class of every image. Position p shows image number p // K of its class. Every class has an image.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, seed: int, flip: bool) -> None:
        labels = np.asarray(labels)
        self._members = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        self._classes = InfiniteSampler(len(self._members), derive_seed(seed, "class order"), flip=False)
        self._images = [
            InfiniteSampler(len(members), derive_seed(seed, "class", label), flip)
            for label, members in enumerate(self._members)
        ]

    def __getitem__(self, position: int) -> Sample:
        label, _ = self._classes[position]
        member, mirrored = self._images[label][position // len(self._members)]
        return int(self._members[label][member]), mirrored


class StepBatches:
    """A batch sampler for `DataLoader`: the samples of one rank, batch after batch, from a global position on.

    A step takes global positions P .. P+B-1. They are dealt to S = ranks * rounds shards as s, s+S, s+2S, ...; this rank
    yields its `rounds` shards one after the other, B/ranks samples in all.
    """

    def __init__(self, sampler: Sampler, position: int, batch_size: int, rank: int, num_ranks: int, rounds: int) -> None:
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
