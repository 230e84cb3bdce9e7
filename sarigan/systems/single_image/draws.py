"""The random inputs of a step: noise maps of all scales up to the trained one, and where the penalty is taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.seeding import derive_seed
from sarigan.systems.single_image.pyramid import Size


def noise_maps(sizes: Sequence[Size], random: torch.Generator, first: int = 0, count: int = 1) -> list[Tensor]:
    """N(0,1), float32 [count,3,h,w] for every size, of scales first, first + 1, ...

    At the coarsest scale all three channels have the same map.
    """
    drawn = [torch.randn(count, 3 if level else 1, *size, generator=random) for level, size in enumerate(sizes, first)]
    return [noise.expand(-1, 3, -1, -1) for noise in drawn]


@dataclass
class PyramidDraws:
    """Of N samples."""

    noises: list[Tensor]  # [N,3,h,w] each
    share: Tensor  # [N,1,1,1] in 0..1: of the generated image in the one at which the penalty is taken

    def __len__(self) -> int:
        return len(self.share)

    def shard(self, index: int, num_shards: int) -> "PyramidDraws":
        """The samples index, index + S, ..."""
        return PyramidDraws([noise[index::num_shards] for noise in self.noises], self.share[index::num_shards])


@dataclass(frozen=True)
class PyramidRandomness:
    """Draws as functions of (seed, phase, step, attempt)."""

    seed: int
    sizes: list[Size]  # of the noise maps of all scales
    device: torch.device
    dtype: torch.dtype

    def draw(self, level: int, phase: str, step: int, batch_size: int, attempt: int) -> PyramidDraws:
        """For a step that trains scale `level`."""
        random = torch.Generator().manual_seed(derive_seed(self.seed, phase, step, attempt))
        noises = noise_maps(self.sizes[: level + 1], random, count=batch_size)
        share = torch.rand(batch_size, 1, 1, 1, generator=random)
        return PyramidDraws([noise.to(self.device, self.dtype) for noise in noises], share.to(self.device, self.dtype))
