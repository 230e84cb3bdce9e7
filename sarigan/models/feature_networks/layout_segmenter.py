"""A small segmenter of any classes, trained on a set's own layouts (scripts/train_segmenter.py): the judge of layout fidelity.

It is the network that reads avatars, at a working size of its own.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.files.reading import reading
from sarigan.models.feature_networks.avatar_networks import AvatarSegmenter, read_record, read_weights

KIND = "layout_segmenter"
MULTIPLE = 16  # of the working size: half of the pixels, halved three times


class LayoutSegmenter(AvatarSegmenter):
    """Images [N,3,H,W] in -1..1 -> logits [N,K,H,W]. size: height and width at which it works."""

    def __init__(self, names: list[str], widths: tuple[int, ...], size: tuple[int, int]) -> None:
        super().__init__(names, widths)
        self.size = size
        if size[0] % MULTIPLE or size[1] % MULTIPLE:
            raise InputError(f"a segmenter's size must be multiples of {MULTIPLE}, got {size[1]}x{size[0]}")

    def resized(self, images: Tensor) -> Tensor:
        """At the size that the network works at: antialiased bilinear."""
        if images.shape[-2:] == self.size:
            return images
        return F.interpolate(images, size=self.size, mode="bilinear", antialias=True, align_corners=False)


def load_layout_segmenter(path: str | Path, device: torch.device | str = "cpu") -> LayoutSegmenter:
    """The segmenter of a `.npz` of scripts/train_segmenter.py, its `.json` beside. InputError for a missing or damaged file."""
    weights = read_weights(Path(path), KIND, "scripts/train_segmenter.py")
    record: dict[str, Any] = read_record(path)
    with reading(path, "weights file of the network that its record describes"):
        height, width = (int(side) for side in record["size"])
        with torch.device("meta"):
            network = LayoutSegmenter(record["names"], tuple(record["widths"]), (height, width))
            shapes = network.state_dict()
        for name, value in shapes.items():
            if value.is_floating_point() and weights[name].shape != value.shape:
                raise InputError(f"{name} has the shape {tuple(weights[name].shape)}, its record says {tuple(value.shape)}")
        network = LayoutSegmenter(record["names"], tuple(record["widths"]), (height, width))
        network.load_state_dict(weights, strict=False)
    return network.to(device).eval().requires_grad_(False)
