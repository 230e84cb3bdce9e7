"""Sheets of channel awareness: hybrids of two classes, segmented images, classes in the order of their total, overlaps."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from sarigan.visualization.sheet import heat_colors, make_sheet, pictures

# One a part or a cluster, told apart by hue and by lightness (after Okabe and Ito), then greys.
COLORS = np.array(
    [(230, 230, 230), (213, 94, 0), (0, 114, 178), (204, 121, 167), (0, 158, 115), (240, 228, 66), (86, 180, 233),
     (120, 60, 20), (20, 20, 24), (230, 159, 0), (150, 150, 160), (90, 90, 100)],
    dtype=np.uint8,
)  # fmt: skip


def label_pictures(labels: Tensor) -> list[np.ndarray]:
    """Maps of labels int64 [N,S,S] -> N pictures uint8 [S,S,3]; label k has colour k of `COLORS`, which repeat."""
    return list(COLORS[labels.cpu().numpy() % len(COLORS)])


def hybrid_sheet(columns: Mapping[str, Tensor], row_labels: Sequence[str], title: str, caption: str) -> Image.Image:
    """A row a latent, a column a hybrid: images [N,3,R,R] by heading. The first and the last column stand apart."""
    cells = [pictures(images) for images in columns.values()]
    apart = [0, len(columns) - 2]
    return make_sheet(list(zip(*cells, strict=True)), list(columns), row_labels, title, caption, separate_columns=apart)


def segmentation_sheet(
    images: Tensor, maps: Mapping[str, Tensor], row_labels: Sequence[str], title: str, caption: str
) -> Image.Image:
    """A row an image [N,3,R,R], a column a segmentation int64 [N,R,R] by heading."""
    cells = [pictures(images), *(label_pictures(labels) for labels in maps.values())]
    return make_sheet(list(zip(*cells, strict=True)), ["image", *maps], row_labels, title, caption, separate_columns=[0])


def class_rows_sheet(rows: Mapping[str, Tensor], title: str, caption: str) -> Image.Image:
    """A row a class: images [N,3,R,R] by label."""
    return make_sheet([pictures(images) for images in rows.values()], (), list(rows), title, caption)


def matrix_sheet(rows: Mapping[str, Mapping[str, Tensor]], title: str, caption: str) -> Image.Image:
    """A row a layer, a column a kind of similarity: matrices [K,K] whose entries 0 to 1 are dark to bright."""
    cells = [[heat_colors(matrix.numpy()) for matrix in matrices.values()] for matrices in rows.values()]
    return make_sheet(cells, list(next(iter(rows.values()))), list(rows), title, caption, min_tile=160)
