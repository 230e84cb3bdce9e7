"""The two kinds of images that metrics compare: those of a data set, and those a generator makes.

Both are sequences: image i is a function of i alone, so that neither batch size nor number of processes changes it.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sarigan.data.loader import ImageDataset, load_in_order
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed

log = logging.getLogger(__name__)


class ImageSet(Protocol):
    """What a metric needs of a set of images."""

    title: str
    resolution: int

    def __len__(self) -> int: ...

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """For each list of positions its images on the device: uint8 [N,3,R,R], or float in about -1..1."""


class DatasetImages:
    """All images of a data set, or `count` of them drawn without return by a fixed permutation. uint8.

    mirror flips half of them, by index: the release's way with real images.
    """

    def __init__(self, dataset: ImageDataset, count: int | None = None, mirror: bool = False, num_workers: int = 0) -> None:
        self.dataset, self.mirror, self.num_workers = dataset, mirror, num_workers
        self.title, self.resolution = dataset.describe(), dataset.resolution
        self.total = len(dataset)
        self.indices = list(range(self.total))
        if count is not None and count < self.total:
            random = np.random.default_rng(derive_seed("subset", self.total, count))
            self.indices = np.sort(random.permutation(self.total)[:count]).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        items = _Items(self, [[self.indices[p] for p in batch] for batch in positions])
        for images in load_in_order(items, self.num_workers):
            yield images.to(device, non_blocking=True)

    def image(self, index: int) -> np.ndarray:
        """uint8 [3,R,R] of an index of the data set, mirrored where it falls to it."""
        image = self.dataset[index]
        return image[:, :, ::-1] if self.mirror and derive_seed("mirror", index) % 2 else image


@cache  # once for all the evaluations of a training
def tell_if_fewer(wanted: int | None, total: int) -> None:
    """One line where a data set has fewer real images than were asked for: all are taken, and the protocol counts them."""
    if wanted is not None and wanted > total:
        log.warning(f"num_real_images={wanted}, but the data set holds {total} images: all {total} are taken")


class _Items(Dataset):
    """Batches of images by number."""

    def __init__(self, images: DatasetImages, batches: list[list[int]]) -> None:
        self.images, self.index_batches = images, batches

    def __len__(self) -> int:
        return len(self.index_batches)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(np.stack([self.images.image(index) for index in self.index_batches[number]]))


class GeneratedImages:
    """Images of a generator from latents and noise that are functions of (seed, position). Float.

    Latents are drawn on the CPU, so that every device sees the same; noise on the device, where there is much of it.
    """

    def __init__(self, generator: Generator, count: int, seed: int = 0, truncation_psi: float = 1.0) -> None:
        self.generator, self.count, self.seed, self.truncation_psi = generator, count, seed, truncation_psi
        self.resolution = generator.config.resolution
        self.title = f"{count} generated images, {self.resolution}x{self.resolution}, seed {seed}, psi {truncation_psi:g}"

    def __len__(self) -> int:
        return self.count

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for batch in positions:
            with torch.no_grad():
                yield self.generator(self.z(batch), noise=self.noise(batch), truncation_psi=self.truncation_psi).images

    def z(self, positions: Sequence[int]) -> Tensor:
        """Latents [N,z_dim] of these positions, on the generator's device."""
        source = torch.Generator()
        size = self.generator.config.z_dim
        drawn = [torch.randn(size, generator=source.manual_seed(derive_seed("z", self.seed, p))) for p in positions]
        return torch.stack(drawn).to(self.generator.mean_latent)

    def noise(self, positions: Sequence[int]) -> list[Tensor | None]:
        """Noise [N,1,H,W] of every layer at these positions."""
        like = self.generator.mean_latent
        shapes = self.generator.synthesis.noise_shapes()
        sizes = [height * width for height, width in shapes]
        source = torch.Generator(device=like.device)
        rows = []
        for position in positions:
            source.manual_seed(derive_seed("noise", self.seed, position))
            rows.append(torch.randn(sum(sizes), generator=source, device=like.device))
        layers = torch.stack(rows).to(like.dtype).split(sizes, dim=1)
        return [x.reshape(-1, 1, *shape) for x, shape in zip(layers, shapes, strict=True)]
