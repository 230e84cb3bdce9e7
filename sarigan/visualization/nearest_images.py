"""Does a generator repeat its training images? The nearest training image of each sample, by pixels at a small size.

d(a, b) = sqrt(mean (a - b)^2) over pixels and colours at SIDE pixels, mirrored or not, whichever is smaller. Beside it stands
the distance of training images to their nearest other: samples that lie much nearer than that are copies.
Legend: N queries, M training images, D = 3*SIDE*SIDE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sarigan.data.loader import ImageDataset
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.progress import progress_bar
from sarigan.visualization.sheet import make_sheet, pictures

SIDE = 16
MAX_IMAGES = 5000  # of the training set that are looked through
MAX_COLUMNS = 8
COPY = 0.5  # of the distance between training images


@dataclass(frozen=True)
class Neighbours:
    """Of each query: the row of the nearest training image, and how far it is."""

    rows: list[int]
    distances: list[float]


def small(images: Tensor) -> Tensor:
    """uint8 or -1..1 [N,3,H,W] -> float32 [N,3*SIDE*SIDE] in 0..255, by area."""
    return F.adaptive_avg_pool2d(to_uint8(images).float(), SIDE).flatten(start_dim=1)


def nearest(queries: Tensor, training: Tensor, own: Sequence[int] | None = None) -> Neighbours:
    """Of queries [N,3,H,W] among `small` training images [M,D]. own: each query's row among them, which does not count."""
    distances = torch.minimum(*(torch.cdist(small(each), training) for each in (queries, queries.flip(3))))
    if own is not None:
        distances[range(len(own)), list(own)] = float("inf")
    best = distances.min(dim=1)
    return Neighbours(best.indices.tolist(), (best.values / training.shape[1] ** 0.5).tolist())


def neighbours_sheet(samples: Tensor, dataset: ImageDataset) -> tuple[Image.Image, str]:
    """The samples of [N,3,H,W] that lie nearest to training images over those, and what all distances say. Needs 2 images."""
    step = -(-len(dataset) // MAX_IMAGES)
    indices = range(0, len(dataset), step)
    shown = progress_bar(indices, desc="training images", leave=False)
    training = torch.cat([small(_image(dataset, index)) for index in shown])
    found = nearest(samples, training)
    own = range(0, len(indices), max(1, len(indices) // len(samples)))
    between = nearest(torch.cat([_image(dataset, indices[row]) for row in own]), training, own)
    ours, theirs = median(found.distances), median(between.distances)
    order = sorted(range(len(samples)), key=lambda sample: found.distances[sample])[:MAX_COLUMNS]
    neighbours = torch.cat([_image(dataset, indices[found.rows[sample]]) for sample in order])
    heads = [f"{found.distances[sample]:.1f}" for sample in order]
    sheet = make_sheet([pictures(samples[order]), pictures(neighbours)], heads, ["generated", "nearest training image"])
    looked = f"all {len(dataset):,}" if step == 1 else f"{len(indices):,} of {len(dataset):,}"
    copies = sum(distance < COPY * theirs for distance in found.distances)
    verdict = "compare them, they may be copies" if copies else f"{len(samples)} samples cannot rule copies out"
    return sheet, (
        f"The {len(order)} of {len(samples)} samples that are nearest to a training image, of {looked} training images."
        f" Distances are of pixels at {SIDE} px, of 255, mirrored or not. The median sample is {ours:.1f} from its nearest"
        f" training image, the median of {len(own)} training images {theirs:.1f} from its nearest other. {copies} of"
        f" {len(samples)} samples are nearer than half the latter distance: {verdict}."
    )


def _image(dataset: ImageDataset, index: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(dataset[index]))[None]
