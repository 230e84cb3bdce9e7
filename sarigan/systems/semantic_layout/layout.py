"""A layout as networks see it: a channel a class, then void, then the edges of instances."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.data.batch import Batch


@dataclass(frozen=True)
class LayoutChannels:
    """num_labels: classes, and void where there is one: the highest label. has_edges: a last channel of edges."""

    num_labels: int
    has_edges: bool = False

    @property
    def count(self) -> int:
        """Channels."""
        return self.num_labels + self.has_edges

    def __call__(self, layout: Tensor, edges: Tensor | None, dtype: torch.dtype) -> Tensor:
        """layout int64 [N,H,W], edges uint8 [N,H,W] -> [N,K,H,W]."""
        channels = F.one_hot(layout, self.num_labels).permute(0, 3, 1, 2).to(dtype)
        if not self.has_edges:
            return channels
        assert edges is not None
        return torch.cat([channels, edges[:, None].to(dtype)], dim=1)

    def of(self, batch: Batch) -> Tensor:
        """The channels of a batch, in the type of its images."""
        assert batch.layout is not None
        return self(batch.layout, batch.edges, batch.images.dtype)
