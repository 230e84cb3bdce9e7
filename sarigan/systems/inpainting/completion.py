"""Completions of held-out images. Mask, latent and noise of image i are functions of i, so no batch size changes a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sarigan.data.batch import to_signed_float
from sarigan.data.loader import ImageDataset, open_dataset, open_images
from sarigan.data.mask_files import WHITES, MaskFolder, image_names
from sarigan.data.masks import MaskedDataConfig, MaskSource
from sarigan.errors import InputError, require_one_of
from sarigan.seeding import derive_seed


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


class CompletingNetwork(Protocol):
    """The generator of a system of this room."""

    draws_completions: bool  # whether completions of one hole differ by seed

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of an `nn.Module`: their device and type are those of its inputs."""

    def complete(self, images: Tensor, known: Tensor, seeds: Sequence[int], truncation_psi: float = 1.0) -> Tensor:
        """images [N,3,R,R], known [N,1,R,R] -> completions [N,3,R,R]; what sample n draws follows from seeds[n]."""


class Completions:
    """One completion of every held-out image: an `ImageSet`. `seed` gives other random inputs where the network has some."""

    def __init__(self, generator: CompletingNetwork, masked: MaskedImages, seed: int = 0) -> None:
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
        images, known = self.masked.tensors(indices, next(self.generator.parameters()))
        seeds = [derive_seed(self.seed, "completion", index) for index in indices]
        return images, known, self.generator.complete(images, known, seeds)
