"""What the systems of this room share: held-out images and their masks, completed by the averaged generator."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.systems.inpainting.completion import Completions, MaskedImages
from sarigan.systems.system import System
from sarigan.visualization.completion_sheet import with_holes


class CompletingSystem(System):
    """Its configuration has `data`, `held_out`, `resolution` and `training`; its average is a `CompletingNetwork`."""

    config: Any
    average: ExponentialMovingAverage[Any]

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        """A batch of grey images whose left half is known."""
        batch = super().example_batch(num_images, device, dtype)
        half = self.resolution // 2
        known = torch.cat([torch.ones(half, device=device, dtype=dtype), torch.zeros(half, device=device, dtype=dtype)])
        batch.mask = known.expand(num_images, 1, self.resolution, self.resolution)
        return batch

    @functools.cached_property
    def completions(self) -> Completions:
        """Of the held-out images by the averaged generator. InputError when the images or their masks cannot be read."""
        config = self.config
        masked = MaskedImages(config.data, config.held_out, config.resolution, config.training.seed)
        return Completions(self.average.module, masked)

    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """Pairs: a held-out image with its hole, and its completion; half as many images as are asked for."""
        indices = range(min(max(1, num_images // 2), len(self.completions)))
        for start in range(0, len(indices), batch_size):
            images, known, completed = self.completions.complete(indices[start : start + batch_size])
            yield torch.stack([with_holes(images, known), completed], dim=1).flatten(0, 1)

    def generated_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """Completions of the first held-out images."""
        indices = range(min(num_images, len(self.completions)))
        for start in range(0, len(indices), batch_size):
            yield self.completions.complete(indices[start : start + batch_size])[2]

    def evaluation_inputs(self) -> dict[str, Any]:
        return {"samples": self.completions}

    def report_sections(self) -> list[Callable[[], Any]]:
        from sarigan.systems.inpainting.report import sections  # seconds of imports that training does without

        return sections(self.completions)
