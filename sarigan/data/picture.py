"""A data set of one picture of any shape, for systems that learn from a single one."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sarigan.data.loader import DataConfig
from sarigan.errors import InputError, require_one_of
from sarigan.files.paths import kind_of
from sarigan.files.picture import BrokenPicture, decode_picture, read_picture
from sarigan.files.reading import reason_of


@dataclass(frozen=True)
class PictureDataConfig(DataConfig):
    """The training picture."""

    name: str = "picture"
    path: str | None = None  # of a picture file; null in a configuration that is to be given one on the command line
    flip: bool = False
    num_workers: int = 0  # there is nothing to read ahead
    sha256: str = ""  # of its pixels; filled in from the file

    def __post_init__(self) -> None:
        require_one_of(self, "data.", name=("picture",))
        if self.flip or self.labels is not None or self.balanced:
            raise InputError("data.flip, data.labels and data.balanced must be false and null: there is one picture")
        if self.num_workers != 0:
            raise InputError(f"data.num_workers must be 0: one picture is read once, got {self.num_workers}")


def read_one(path: Path) -> Image.Image:
    """The RGB picture of a file; InputError naming the file when it cannot be read."""
    if kind_of(path) != "file":
        raise InputError(f"{path}: {'is a folder' if kind_of(path) else 'does not exist'}; give one picture file")
    try:
        return decode_picture(read_picture(path))[0]
    except (BrokenPicture, OSError) as error:
        raise InputError(f"{path}: not a readable picture ({reason_of(error)})") from None


def read_pixels(path: Path) -> Tensor:
    """A picture file as uint8 [3,H,W]; InputError as `read_one`."""
    return torch.from_numpy(np.array(read_one(path))).permute(2, 0, 1).contiguous()


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic (a = -0.5), widened when it shrinks, clamped to -1..1. [N,3,H,W] in -1..1 -> [N,3,h,w]."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)


class Picture:
    """A `KeyedDataset` of one picture."""

    def __init__(self, path: str, shrunk: Callable[[int, int], tuple[int, int]]) -> None:
        """shrunk: (height, width) of the file -> of the training."""
        picture = read_one(Path(path))
        self.path, self.file_size = path, (picture.height, picture.width)
        height, width = shrunk(*self.file_size)
        if (height, width) != self.file_size:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        self.pixels = np.array(picture).transpose(2, 0, 1)
        self.resolution = max(height, width)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels

    @functools.cached_property
    def content_key(self) -> str:
        """The SHA-256 of the pixels and their shape."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def describe(self) -> str:
        """One line for a person."""
        height, width = self.pixels.shape[1:]
        was = "" if self.file_size == (height, width) else f", of a file with {self.file_size[1]}x{self.file_size[0]}"
        return f"one picture of {width}x{height} px{was}: {self.path}"
