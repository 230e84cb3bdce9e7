"""Sheets of completed images, as Fig. 8 of the paper: the image with its hole, what each model makes of it, the original."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from sarigan.visualization.sheet import make_sheet, pictures

HOLE_GREY = 0.0  # of -1..1


def with_holes(images: Tensor, known: Tensor) -> Tensor:
    """The images with their holes grey. images [N,3,R,R] in -1..1, known [N,1,R,R]."""
    return torch.where(known > 0.5, images, torch.full_like(images, HOLE_GREY))


def completion_sheet(
    images: Tensor, known: Tensor, completed: Mapping[str, Tensor], row_labels: Sequence[str] = (), caption: str = ""
) -> Image.Image:
    """A row an image: its hole, one column for every entry of `completed`, the original. All [N,3,R,R] in -1..1."""
    columns = [with_holes(images, known), *completed.values(), images]
    heads = ["input", *completed, "original"]
    rows = list(zip(*(pictures(column) for column in columns), strict=True))
    last = len(heads) - 2
    return make_sheet(rows, heads, row_labels, "Completions", caption, separate_columns=[0, last])
