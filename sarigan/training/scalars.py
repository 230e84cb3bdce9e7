"""Means of logged scalars: summed up on the device, so that no step waits for it, and over ranks only when they are read."""

import itertools

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.systems.system import Scalars


class ScalarSums:
    """Sums since the last reading. Scalars that are added together share a vector on the device; its last entry counts them."""

    def __init__(self) -> None:
        self.vectors: dict[tuple[str, ...], Tensor] = {}

    def add(self, scalars: Scalars, weight: float = 1.0) -> None:
        """Count each scalar `weight` times; a weight of zero leaves it out, whatever its value."""
        if not scalars:
            return
        values = [value.detach() for value in scalars.values()]
        vector = torch.stack([*values, torch.ones_like(values[0])])
        if weight != 1:
            vector = vector * weight if weight else torch.zeros_like(vector)
        self.add_vector(tuple(scalars), vector)

    def merge(self, other: "ScalarSums", skip: Tensor) -> None:
        """Add the sums of another, or nothing where the boolean scalar `skip` is true."""
        for names, vector in other.vectors.items():
            self.add_vector(names, vector.masked_fill(skip, 0))

    def add_vector(self, names: tuple[str, ...], vector: Tensor) -> None:
        """Add the sums of scalars that came together, their count last."""
        self.vectors[names] = self.vectors[names] + vector if names in self.vectors else vector

    def reduced_means(self) -> Scalars:
        """Means over all ranks of scalars that came together, on the device; the sums stay."""
        ((names, vector),) = self.vectors.items()
        vector = distributed.sum_over_ranks(vector.clone())
        return dict(zip(names, vector[:-1] / vector[-1], strict=True))

    def means(self) -> dict[str, float]:
        """Means over all ranks since the last call, the same on every rank; one transfer from the device.

        A scalar that was only ever counted zero times is left out.
        """
        if not self.vectors:
            return {}
        sets = sorted(self.vectors)
        table = torch.cat([self.vectors[names].double() for names in sets])
        self.vectors = {}
        numbers = iter(distributed.sum_over_ranks(table).tolist())
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for names in sets:
            *parts, count = itertools.islice(numbers, len(names) + 1)
            for name, part in zip(names, parts, strict=True):
                sums[name] = sums.get(name, 0.0) + part
                counts[name] = counts.get(name, 0.0) + count
        return {name: sums[name] / counts[name] for name in sorted(sums) if counts[name] > 0}
