"""One layout that a person brings to a trained model: read as the training read its own, and fitted to the model's size."""

from pathlib import Path

import numpy as np

from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.layouts.files import LayoutReader, resized_numbers
from sarigan.data.layouts.folder import FolderOrZip, read_table
from sarigan.errors import InputError
from sarigan.files.paths import kind_of


def layout_reader(data: LayoutDataConfig, colors: str | None = None) -> LayoutReader:
    """Of the layouts of a configuration, with its table of colours, which may lie in the training set, or that of a file.

    InputError when the table cannot be read.
    """
    table = None
    if colors is not None:
        table = read_table(None, colors)
    elif data.colors is not None:
        is_there = data.path is not None and kind_of(Path(data.path)) is not None
        table = read_table(FolderOrZip(Path(str(data.path))) if is_there else None, data.colors)
    return LayoutReader(data.num_classes, data.void, table)


def fitted(numbers: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """Resized nearest; InputError naming `where` for another aspect than that of `size` (height, width)."""
    height, width = numbers.shape
    if height * size[1] != width * size[0]:
        raise InputError(f"{where}: is {width}x{height}, the model makes {size[1]}x{size[0]}; a layout must have that aspect")
    return resized_numbers(numbers, size)
