"""Completions of held-out images. Mask, latent and noise of image i are functions of i, so no batch size changes a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sarigan.data.batch import to_signed_float
from sarigan.data.loader import ImageDataset, open_dataset, open_images
from sarigan.data.mask_files import WHITES, MaskFolder, image_names
from sarigan.data.masks import MaskedDataConfig, MaskSource
from sarigan.device import to_device
from sarigan.errors import InputError, require_one_of
from sarigan.seeding import derive_seed
from sarigan.systems.inpainting.generator import InpaintingGenerator


@dataclass(frozen=True)
class HeldOutConfig:
    """Images to complete in sample sheets and metrics, each with one mask."""

    path: str | None = None  # a prepared set, a folder or a zip file; null: the training images
    masks: str | None = None  # a folder with one stored mask for each image; null: drawn as in training, by the image's number
    white: str = "auto"  # in stored masks: hole | known; auto: hole, and masks that look inverted are refused

    def __post_init__(self) -> None:
        require_one_of(self, "held_out.", white=WHITES)
        if self.masks and not self.path:
            raise InputError(f"held_out.path must name the images of held_out.masks={self.masks!r}, got null")


class MaskedImages:
    """The held-out images of a configuration, each with its mask. InputError when either cannot be read."""

    def __init__(self, data: MaskedDataConfig, held_out: HeldOutConfig, resolution: int, seed: int) -> None:
        self.images: ImageDataset = open_images(held_out.path, resolution) if held_out.path else open_dataset(data, resolution)
        self.resolution = resolution
        self.stored: MaskFolder | None = None
        if held_out.masks:
            self.names = image_names(self.images, len(self.images))
            self.stored = MaskFolder(held_out.masks, resolution, held_out.white)
            self.stored.require(self.names)
        else:
            self.drawn = MaskSource(data.mask, resolution, derive_seed(seed, "held-out masks"))

    def __len__(self) -> int:
        return len(self.images)

    def mask(self, index: int) -> np.ndarray:
        """uint8 [1,R,R], 1 where known."""
        return self.drawn(index) if self.stored is None else self.stored.mask_of(self.names[index])

    def tensors(self, indices: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """images [N,3,R,R] in -1..1 and masks [N,1,R,R] on the device and in the type of `like`."""
        images = torch.from_numpy(np.stack([self.images[index] for index in indices]))
        known = torch.from_numpy(np.stack([self.mask(index) for index in indices]))
        return to_signed_float(images.to(like.device), like.dtype), known.to(like.device, like.dtype)


class Completions:
    """One completion of every held-out image: an `ImageSet`. `seed` gives other latents and noise."""

    def __init__(self, generator: InpaintingGenerator, masked: MaskedImages, seed: int = 0) -> None:
        self.generator, self.masked, self.seed = generator, masked, seed
        self.title, self.resolution = f"completions of {masked.images.describe()}", masked.resolution

    def __len__(self) -> int:
        return len(self.masked)

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for batch in positions:
            yield self.complete(batch)[2].to(device)

    @torch.no_grad()
    def complete(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Originals [N,3,R,R] in -1..1, masks [N,1,R,R], completions [N,3,R,R]."""
        images, known = self.masked.tensors(indices, self.generator.mean_latent)
        z, noise = draw_latents(self.generator, [derive_seed(self.seed, "completion", index) for index in indices])
        return images, known, self.generator(images, known, z, noise=noise).images


def draw_latents(generator: InpaintingGenerator, seeds: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """z [N,z_dim] and one noise [N,1,H,W] a layer, each sample from a seed of its own."""
    drawn: list[list[Tensor]] = []
    source = torch.Generator()
    for seed in seeds:
        source.manual_seed(seed)
        shapes = [(generator.config.z_dim,), *((1, h, w) for h, w in generator.synthesis.noise_shapes())]
        drawn.append([torch.randn(shape, generator=source) for shape in shapes])
    z, *noise = to_device(
        [torch.stack(parts) for parts in zip(*drawn, strict=True)], generator.mean_latent.device, generator.mean_latent.dtype
    )
    return z, noise
