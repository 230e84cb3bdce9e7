"""Mean and covariance of features, streamed in float64 and merged exactly (Chan, Golub & LeVeque 1979)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.distributed import sum_over_ranks
from sarigan.errors import InputError


@dataclass(frozen=True)
class Moments:
    """Count n, mean [D] and scatter [D,D] = sum of (x - mean)(x - mean)^T, float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """Unbiased, [D,D]; InputError for fewer than two samples."""
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 images, got {self.count}")
        return self.scatter / (self.count - 1)


class StreamedMoments:
    """Moments of batches that arrive one by one; memory is D^2 numbers, however many arrive.

    They stay on the device of the features, on the CPU where the device has no float64.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        device = torch.device("cpu") if device.type == "mps" else device
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Take in a batch [N,D]."""
        x = features.to(self.mean.device, torch.float64)
        if len(x) == 0:
            return
        mean = x.mean(dim=0)
        x = x - mean
        delta, total = mean - self.mean, self.count + len(x)
        self.scatter.addmm_(x.T, x).addr_(delta, delta, alpha=self.count * len(x) / total)
        self.mean += delta * (len(x) / total)
        self.count = total

    def merged(self) -> Moments:
        """The moments of what all processes took in, the same on every one; the order of ranks does not matter."""
        count = int(sum_over_ranks(torch.tensor(self.count, dtype=torch.float64, device=self.mean.device)))
        mean = sum_over_ranks(self.mean * (self.count / max(count, 1)))
        delta = self.mean - mean
        scatter = sum_over_ranks(self.scatter.addr(delta, delta, alpha=self.count))
        return Moments(count, mean, scatter)
