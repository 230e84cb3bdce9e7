"""Means of logged scalars, summed up on the device so that no step waits for it, over ranks only when they are read."""

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.training.phase import Scalars


class ScalarSums:
    """Sums and counts of scalars since the last look."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, scalars: Scalars, weight: float | Tensor = 1.0) -> None:
        """Count each scalar `weight` times; a weight of zero leaves it out, whatever its value."""
        for name, value in scalars.items():
            value = value.detach()
            count = torch.as_tensor(weight, dtype=value.dtype, device=value.device)
            part = torch.where(count > 0, value * count, torch.zeros_like(value))
            self.sums[name] = self.sums[name] + part if name in self.sums else part
            self.counts[name] = self.counts[name] + count if name in self.counts else count

    def merge(self, other: "ScalarSums", keep: Tensor) -> None:
        """Take in the sums of another, or, where the boolean scalar `keep` is false, nothing."""
        for name, total in other.sums.items():
            count = other.counts[name]
            total, count = torch.where(keep, total, torch.zeros_like(total)), torch.where(keep, count, torch.zeros_like(count))
            self.sums[name] = self.sums[name] + total if name in self.sums else total
            self.counts[name] = self.counts[name] + count if name in self.counts else count

    def reduced_means(self) -> Scalars:
        """Means over all ranks, on the device; the sums stay."""
        names = sorted(self.sums)
        table = torch.stack([torch.stack([self.sums[name], self.counts[name]]) for name in names])
        return {name: row[0] / row[1] for name, row in zip(names, distributed.sum_over_ranks(table), strict=True)}

    def means(self) -> dict[str, float]:
        """Means over all ranks since the last call, the same on every rank; one transfer from the device.

        A scalar that was only ever counted zero times is left out.
        """
        if not self.sums:
            return {}
        names = sorted(self.sums)
        table = torch.stack([torch.stack([self.sums[name].double(), self.counts[name].double()]) for name in names])
        self.sums, self.counts = {}, {}
        values = distributed.sum_over_ranks(table).tolist()
        return {name: total / count for name, (total, count) in zip(names, values, strict=True) if count > 0}
