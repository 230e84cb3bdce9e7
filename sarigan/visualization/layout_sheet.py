"""Layouts in colours, and sheets of them beside images."""

import colorsys
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.data.batch import to_signed_float
from sarigan.visualization.sheet import make_sheet, pictures

_GOLDEN = 0.6180339887498949  # turns of hue between classes: neighbours in number are far apart in colour


@cache
def palette(count: int) -> np.ndarray:
    """uint8 [count,3]: a colour a class, the first (background, as a rule) grey."""
    colors = [(0.82, 0.82, 0.84)]
    for index in range(1, count):
        lightness = (0.58, 0.42, 0.74)[index % 3]
        colors.append(colorsys.hls_to_rgb(index * _GOLDEN % 1, lightness, 0.65))
    return (np.array(colors[:count]) * 255).round().astype(np.uint8)


def layout_images(layout: Tensor) -> Tensor:
    """layout int64 [N,H,W] -> colours [N,3,H,W] in -1..1."""
    colors = torch.from_numpy(palette(256))[layout.cpu() % 256]
    return to_signed_float(colors.permute(0, 3, 1, 2))


def layout_sheet(layout: Tensor, columns: dict[str, Tensor], names: Sequence[str] = (), caption: str = "") -> Image.Image:
    """A row a layout [N,H,W]: the layout, then the image [N,3,H,W] of each column."""
    shown = {"layout": layout_images(layout), **columns}
    cells = [pictures(images) for images in shown.values()]
    rows = [[column[index] for column in cells] for index in range(len(layout))]
    return make_sheet(rows, list(shown), names, caption=caption, separate_columns=[0])
