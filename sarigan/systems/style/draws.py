"""Every random input of a phase of a style-based system, drawn for the whole batch from (seed, phase, step).

The forward passes take what is drawn here as inputs, so neither the number of ranks nor accumulation nor a restart
changes a sample. S shards take positions s, s+S, s+2S, ... of the batch, as the images do (`sarigan.data.loader`).
"""

import random
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sarigan.models.generator import Generator, LatentMixing
from sarigan.models.mapping import draw_labels
from sarigan.seeding import derive_seed


@dataclass
class StyleDraws:
    """Random inputs of N samples; N is the batch, or a shard's part of it."""

    z: Tensor  # [N,z_dim]
    mixing: LatentMixing | None
    noise: list[Tensor]  # one [N,1,H,W] a layer
    image_noise: Tensor | None  # [N,3,R,R], for path lengths
    labels: Tensor | None = None  # [N], of a generator with classes

    def __len__(self) -> int:
        return len(self.z)

    def shard(self, index: int, num_shards: int) -> "StyleDraws":
        """The samples index, index + S, index + 2S, ..."""
        part = slice(index, None, num_shards)
        mixing = self.mixing
        if mixing is not None:
            mixing = LatentMixing(mixing.second_z[part], mixing.kind, mixing.crossover)
        image_noise = None if self.image_noise is None else self.image_noise[part]
        labels = None if self.labels is None else self.labels[part]
        return StyleDraws(self.z[part], mixing, [noise[part] for noise in self.noise], image_noise, labels)


class StyleRandomness:
    """Draws for the shapes of one generator. On a CPU two steps may share theirs (`derive_seed`)."""

    def __init__(
        self, seed: int, generator: Generator, mixing_probability: float, mixing_kind: str, device: torch.device,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.seed, self.mixing_probability, self.mixing_kind = seed, mixing_probability, mixing_kind
        self.z_dim, self.num_latents = generator.config.z_dim, generator.num_latents
        self.resolution = generator.config.resolution
        self.noise_shapes = generator.synthesis.noise_shapes()
        self.class_shares = generator.config.class_shares
        self.device, self.dtype = device, dtype

    @cached_property
    def _source(self) -> torch.Generator:  # made when it is first used: a dry run's device has none
        return torch.Generator(self.device)

    def draw(self, phase: str, step: int, batch_size: int, attempt: int = 0, image_noise: bool = False) -> StyleDraws:
        """The inputs of one phase of one step for the whole batch; others in another attempt, after a roll-back."""
        key: tuple[int | str, ...] = (self.seed, phase, step)
        if attempt:
            key = (*key, "attempt", attempt)
        self._source.manual_seed(derive_seed(*key))
        z = self._normal(batch_size, 2, self.z_dim)
        noise = [self._normal(batch_size, 1, h, w) for h, w in self.noise_shapes]
        images = self._normal(batch_size, 3, self.resolution, self.resolution) if image_noise else None
        return StyleDraws(z[:, 0], self._mixing(key, z[:, 1]), noise, images, self._labels(key, batch_size))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._source, device=self.device, dtype=self.dtype)

    def _labels(self, key: tuple[int | str, ...], batch_size: int) -> Tensor | None:
        if not self.class_shares:
            return None
        # On the CPU, so that every device sees the same classes.
        labels = draw_labels(self.class_shares, batch_size, derive_seed(*key, "labels"))
        return labels.to(self.device, non_blocking=True)

    def _mixing(self, key: tuple[int | str, ...], second_z: Tensor) -> LatentMixing | None:
        coin = random.Random(derive_seed(*key, "mixing"))
        if coin.random() >= self.mixing_probability:
            return None
        return LatentMixing(second_z, self.mixing_kind, coin.randrange(1, self.num_latents))
