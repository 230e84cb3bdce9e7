"""Random numbers of the images of a shard: each is drawn for the whole batch, so that no cut of the batch changes it."""

import torch
from torch import Tensor


class ImageRandom:
    """Draws for n images, the rows `part` of a batch of B. The order of the calls decides who gets what."""

    def __init__(self, source: torch.Generator, batch_size: int, part: slice, dtype: torch.dtype) -> None:
        self.source, self.batch_size, self.part, self.dtype = source, batch_size, part, dtype

    def uniform(self) -> Tensor:
        """[n], in 0..1."""
        return torch.rand(self.batch_size, generator=self.source, device=self.source.device, dtype=self.dtype)[self.part]

    def normal(self, *shape: int) -> Tensor:
        """[n,*shape], mean 0, deviation 1."""
        size = (self.batch_size, *shape)
        return torch.randn(size, generator=self.source, device=self.source.device, dtype=self.dtype)[self.part]

    def chosen(self, p: Tensor) -> Tensor:
        """[n], true with probability p each; p a scalar."""
        return self.uniform() < p


def per_image(values: Tensor) -> Tensor:
    """[n] -> [n,1,1,1]."""
    return values[:, None, None, None]
