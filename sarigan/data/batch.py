"""What a data set gives a step: images, and labels, layouts or masks where it has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Batch:
    """N samples. Images are uint8 as they are read, and floating-point numbers in -1..1 on the device of a step.

    Where a system has images that are not square, R x R stands for their height x width.
    """

    images: Tensor  # [N,3,R,R]
    labels: Tensor | None = None  # [N], int64
    layout: Tensor | None = None  # [N,R,R], int64: the class of every pixel
    mask: Tensor | None = None  # [N,1,R,R], 1 where the image is known
    edges: Tensor | None = None  # [N,R,R], uint8: 1 at the edges of instances in the layout

    def __len__(self) -> int:
        return len(self.images)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `function` applied to everything it holds."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: function(value) for name, value in held.items() if value is not None})

    def chunk(self, count: int) -> list["Batch"]:
        """`count` equal parts in order; N must be a multiple of it."""
        size = len(self) // count
        parts = [slice(start, start + size) for start in range(0, size * count, size)]
        return [self.map(lambda value, part=part: value[part]) for part in parts]  # type: ignore[misc]

    def pin_memory(self) -> "Batch":
        """Called by PyTorch's `DataLoader`, so that copies to a GPU need not wait."""
        return self.map(torch.Tensor.pin_memory)

    def to_device(self, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format) -> "Batch":
        """On the device, images and mask in `dtype`, images in -1..1."""
        moved = self.map(lambda value: value.to(device, non_blocking=True))
        moved.images = to_signed_float(moved.images, dtype, memory_format)
        moved.mask = None if moved.mask is None else moved.mask.to(dtype)
        return moved


def to_signed_float(
    images: Tensor, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = torch.preserve_format
) -> Tensor:
    """uint8 -> dtype in -1..1: x / 127.5 - 1."""
    return images.to(dtype, memory_format=memory_format) / 127.5 - 1


def stack(samples: Sequence[Batch]) -> Batch:
    """Samples without their dimension N -> a batch. All of them have the same fields."""
    first = samples[0]
    names = [field.name for field in fields(Batch) if getattr(first, field.name) is not None]
    return Batch(**{name: torch.stack([getattr(sample, name) for sample in samples]) for name in names})
