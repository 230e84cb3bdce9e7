"""Images of held-out layouts. The style of image i is a function of i, so no batch size changes a picture."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.data.batch import Batch, stack, to_signed_float
from sarigan.data.layouts.config import LayoutDataConfig, open_layouts
from sarigan.data.loader import read_sample
from sarigan.errors import require_at_least_1
from sarigan.seeding import derive_seed
from sarigan.systems.semantic_layout.generator import LayoutGenerator
from sarigan.systems.semantic_layout.layout import LayoutChannels


@dataclass(frozen=True)
class HeldOutLayoutsConfig:
    """Layouts for sample sheets and metrics, with their images."""

    # A folder, zip file or prepared set as data.path; null: of avatars those of another seed, else the training layouts
    path: str | None = None
    num_images: int | None = None  # at most, the first ones; null: all, of avatars 1000
    segmenter: str | None = None  # of layout_fidelity: a file of scripts/train_segmenter.py; null: of avatars the built-in one

    def __post_init__(self) -> None:
        require_at_least_1(self, "num_images", prefix="held_out.")


class HeldOutLayouts:
    """The held-out layouts of a configuration. InputError when they cannot be read."""

    def __init__(self, data: LayoutDataConfig, held_out: HeldOutLayoutsConfig, resolution: int) -> None:
        self.data, self.size = data, (data.height or resolution, resolution)
        self.segmenter = held_out.segmenter or ("avatars" if data.name == "avatars" else None)
        count = held_out.num_images
        if held_out.path is not None:
            self.images: Any = open_layouts(data, held_out.path, self.size)
        elif data.name == "avatars":
            count = count or 1000
            self.images = replace(data, seed=(data.seed + 1) % 2**63, num_images=count).open(resolution)
        else:
            self.images = data.open(resolution)
        self.count = min(len(self.images), count or len(self.images))

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int]) -> Batch:
        """Images uint8 [N,3,H,W] with layouts."""
        return layouts_of(self.images, indices)


def layouts_of(dataset: Any, indices: Sequence[int]) -> Batch:
    """Images and layouts of a set, by index."""
    samples = [read_sample(dataset, index) for index in indices]
    return stack([Batch(**{name: torch.from_numpy(np.array(array)) for name, array in s.items()}) for s in samples])


class SynthesizedImages:
    """One image for every held-out layout: an `ImageSet`. `seed` gives other styles."""

    def __init__(
        self, generator: LayoutGenerator, channels: LayoutChannels, held_out: HeldOutLayouts,
        refresh: Callable[[], None] = lambda: None, seed: int = 0, training_network: str | None = None,
    ) -> None:  # fmt: skip
        self.training_network = training_network  # of the perceptual loss: it may not judge these images
        self.generator, self.channels, self.held_out = generator, channels, held_out
        self.refresh, self.seed = refresh, seed
        self.title, self.resolution = f"images of the layouts of {held_out.images.describe()}", held_out.size[1]
        self.num_classes, self.segmenter = held_out.data.num_classes, held_out.segmenter
        self.has_encoder = generator.config.style == "encoder"

    def __len__(self) -> int:
        return len(self.held_out)

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for indices in positions:
            yield self.in_own_styles(self.held_out.batch(indices), indices).to(device)

    def layouts(self, positions: Sequence[int]) -> Batch:
        """The layouts of these numbers, and their images uint8."""
        return self.held_out.batch(positions)

    def in_own_styles(self, batch: Batch, positions: Sequence[int]) -> Tensor:
        """Images of the layouts of these numbers, each in the style that `batches` gives it."""
        return self.make(batch, self.styles(positions))

    def in_styles(self, batch: Batch, seeds: Sequence[int]) -> Tensor:
        """Images of a batch's layouts, each in the style of its seed."""
        return self.make(batch, draw_styles(self.generator, seeds))

    def in_style_of(self, batch: Batch, references: Tensor) -> Tensor:
        """Images of a batch's layouts, each in the style of its reference, uint8 [N,3,h,w]."""
        return self.make(batch, self.styles(range(len(batch))), references)

    def styles(self, indices: Sequence[int], seed: int | None = None) -> Tensor:
        """z [N,D] of the layouts of these numbers."""
        seed = self.seed if seed is None else seed
        return draw_styles(self.generator, [derive_seed(seed, "style", index) for index in indices])

    def make(self, batch: Batch, z: Tensor, reference: Tensor | None = None) -> Tensor:
        """`paint` by this generator, with the batch statistics of its own weights."""
        self.refresh()
        return paint(self.generator, self.channels, batch, z, reference)


@torch.no_grad()
def paint(
    generator: LayoutGenerator, channels: LayoutChannels, batch: Batch, z: Tensor, reference: Tensor | None = None,
    noise_map: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Images [N,3,H,W] of a batch's layouts.

    reference: uint8 [N,3,h,w] whose style is taken, its mean alone. noise_map: [N,D,H,W] in place of z at every position.
    """
    assert batch.layout is not None
    like = generator.to_rgb.weight
    edges = None if batch.edges is None else batch.edges.to(like.device)
    layout = channels(batch.layout.to(like.device), edges, like.dtype)
    if reference is None:
        return generator(layout, z, noise_map=noise_map).images
    images = to_signed_float(reference.to(like.device), like.dtype)
    return generator(layout, torch.zeros_like(z), images).images


def draw_styles(generator: LayoutGenerator, seeds: Sequence[int]) -> Tensor:
    """z [N,D] ~ N(0,1), each from a seed of its own, on the generator's device."""
    source, drawn = torch.Generator(), []
    for seed in seeds:
        source.manual_seed(seed)
        drawn.append(torch.randn(generator.config.style_dim, generator=source))
    like = generator.to_rgb.weight
    return torch.stack(drawn).to(like.device, like.dtype)


def region_noise(generator: LayoutGenerator, layout: Tensor, seed: int) -> Tensor:
    """3D noise with a vector of its own for every class of the layout int64 [N,H,W]: [N,D,H,W] (Schonfeld et al. 2021)."""
    count = int(layout.max()) + 1
    vectors = draw_styles(generator, [derive_seed(seed, "region", label) for label in range(count)])
    return vectors[layout.to(vectors.device)].permute(0, 3, 1, 2)


def paint_styles(
    generator: LayoutGenerator, channels: LayoutChannels, batch: Batch, seeds: Sequence[int] = (),
    references: Mapping[str, Tensor] = MappingProxyType({}), by_region: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Images [1,3,H,W] of a batch of one layout: by seed, as its digits, then by the name of a reference, uint8 [1,3,h,w].

    by_region: the noise of a seed is another vector for every class.
    """
    assert batch.layout is not None
    made: dict[str, Tensor] = {}
    for seed in seeds:
        noise = region_noise(generator, batch.layout, seed) if by_region else None
        made[str(seed)] = paint(generator, channels, batch, draw_styles(generator, [seed]), noise_map=noise)
    for name, reference in references.items():
        made[name] = paint(generator, channels, batch, draw_styles(generator, [0]), reference)
    return made
