"""The random inputs of a phase: those of a style-based generator, and which entries of the global code are dropped."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sarigan.seeding import derive_seed
from sarigan.systems.inpainting.generator import InpaintingGenerator
from sarigan.systems.style.draws import StyleDraws, StyleRandomness


@dataclass
class InpaintingDraws:
    """Random inputs of N samples."""

    style: StyleDraws
    dropout: Tensor | None  # [N,global_dim]: 0, or 1 / (1 - p) with probability 1 - p

    def __len__(self) -> int:
        return len(self.style)

    def shard(self, index: int, num_shards: int) -> "InpaintingDraws":
        """The samples index, index + S, index + 2S, ..."""
        dropout = None if self.dropout is None else self.dropout[index::num_shards]
        return InpaintingDraws(self.style.shard(index, num_shards), dropout)


class InpaintingRandomness:
    """Draws for the shapes of one generator; functions of (seed, phase, step) as those of `StyleRandomness`."""

    def __init__(self, style: StyleRandomness, generator: InpaintingGenerator, dropout: float) -> None:
        self.style, self.probability = style, dropout
        self.global_dim = generator.encoder.dense.bias.shape[0]

    @cached_property
    def _source(self) -> torch.Generator:
        return torch.Generator(self.style.device)

    def draw(self, phase: str, step: int, batch_size: int, attempt: int = 0) -> InpaintingDraws:
        """The inputs of one phase of one step for the whole batch; others in another attempt, after a roll-back."""
        style = self.style.draw(phase, step, batch_size, attempt)
        if self.probability == 0:
            return InpaintingDraws(style, None)
        self._source.manual_seed(derive_seed(self.style.seed, phase, step, attempt, "dropout"))
        uniform = torch.rand(
            (batch_size, self.global_dim), generator=self._source, device=self.style.device, dtype=self.style.dtype
        )
        return InpaintingDraws(style, (uniform >= self.probability).to(uniform.dtype) / (1 - self.probability))
