"""Grids of images as PNG files."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.models.feature_networks.feature_network import to_uint8


def make_grid(images: Tensor, num_columns: int | None = None) -> np.ndarray:
    """images [N,3,H,W] in -1..1 or uint8 -> uint8 [rows*H, columns*W, 3], row by row; about square unless columns are given."""
    n, c, h, w = images.shape
    columns = num_columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = torch.zeros(rows * columns, c, h, w, dtype=torch.uint8)
    canvas[:n] = to_uint8(images).cpu()
    return canvas.reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c).numpy()


def save_grid(images: Tensor, path: Path, num_columns: int | None = None, min_width: int = 0) -> np.ndarray:
    """Write the grid of `make_grid` as a PNG and return it.

    Every pixel is repeated by the largest whole factor that keeps the grid within `min_width` pixels.
    """
    grid = make_grid(images, num_columns)
    factor = max(1, min_width // grid.shape[1])
    grid = grid.repeat(factor, axis=0).repeat(factor, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)
    return grid
