"""Stored masks: 8-bit PNG files, white where a hole is, one for each image of a set, by the image's name.

Published code differs in what is white (a hole: DeepFill, PEN-Net, LaMa, AOT; what is known: CoModGAN, MAT), so a mask whose
hole is all but an inner region is refused unless the convention is named.
"""

import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from sarigan.data.image_folder import files_below, is_image_name
from sarigan.errors import InputError
from sarigan.files.paths import kind_of, replace_file
from sarigan.files.picture import BrokenPicture, opened_picture, read_picture
from sarigan.files.reading import reason_of

WHITES = ("auto", "hole", "known")
HIDDEN_HALF = 0.5  # a larger hole that holds the whole border looks like an inverted mask


def read_mask(path: Path, white: str = "auto", size: tuple[int, int] | None = None) -> np.ndarray:
    """A mask file -> uint8 [1,H,W], 1 where the image is known. Grey values from 128 on are white.

    size: (W, H) that it must have. white: what white means, `hole` or `known`; `auto`: a hole. InputError naming the file for a
    colour picture, another size, no hole, nothing known, and with `auto` for what looks inverted.
    """
    try:
        with opened_picture(read_picture(path)) as picture:
            if picture.mode not in ("1", "L"):
                raise InputError(f"{path}: a mask is a grey 8-bit picture (mode L or 1), got mode {picture.mode}")
            found, values = picture.size, np.asarray(picture.convert("L")) > 127
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (BrokenPicture, OSError) as error:
        raise InputError(f"{path}: not a readable mask ({reason_of(error)})") from None
    if size is not None and found != size:
        raise InputError(f"{path}: the mask is {found[0]}x{found[1]}, the image {size[0]}x{size[1]}; they must be of one size")
    if values.all() or not values.any():
        colour, other = ("white", "black") if values.all() else ("black", "white")
        raise InputError(f"{path}: the mask is all {colour}; it needs a hole and something known, so {other} pixels too")
    known = values if white == "known" else ~values
    border = np.concatenate([known[0], known[-1], known[:, 0], known[:, -1]])
    if white == "auto" and known.mean() < HIDDEN_HALF and not border.any():
        raise InputError(
            f"{path}: the mask looks inverted: white means a hole, and all but an inner region is white. Invert it, or say what"
            " white means: --white known (data.mask.white=known), or --white hole if it is meant so"
        )
    return known[None].astype(np.uint8)


def save_mask(path: Path, known: np.ndarray) -> None:
    """Write a mask [1,R,R], 1 where known, as an 8-bit PNG, white where the hole is."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(known[0] > 0, 0, 255).astype(np.uint8)).save(buffer, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(buffer.getvalue()))


class MaskFolder:
    """A folder of mask files, all R x R. InputError when it is none or holds no picture."""

    def __init__(self, path: str | Path, resolution: int, white: str = "auto") -> None:
        self.path, self.resolution, self.white = Path(path), resolution, white
        if kind_of(self.path) != "folder":
            raise InputError(f"{self.path}: no such folder of masks; scripts/prepare_masks.py makes one")
        self.names = sorted(filter(is_image_name, files_below(self.path)))
        if not self.names:
            raise InputError(f"{self.path}: holds no mask; scripts/prepare_masks.py makes them")

    def mask(self, name: str) -> np.ndarray:
        """uint8 [1,R,R], 1 where known. InputError naming the file."""
        return read_mask(self.path / name, self.white, (self.resolution, self.resolution))

    def require(self, names: list[str]) -> None:
        """InputError naming the first image that has no stored mask."""
        held = set(self.names)
        missing = [name for name in names if mask_name(name) not in held]
        if missing:
            raise InputError(
                f"{self.path}: has no mask {mask_name(missing[0])} for image {missing[0]}"
                f" ({len(missing):,} of {len(names):,} images have none); scripts/prepare_masks.py makes one for each image"
            )

    def mask_of(self, image: str) -> np.ndarray:
        """The mask of an image by the image's name."""
        return self.mask(mask_name(image))


def mask_name(image: str) -> str:
    """The name of an image's mask: a/b.jpg -> a/b.png."""
    return PurePosixPath(image).with_suffix(".png").as_posix()


def image_names(dataset: object, count: int) -> list[str]:
    """The names of a set's images in order: those of its files, or their numbers. InputError where two share a mask's name."""
    named: list[str] = list(getattr(dataset, "names", [])) or [f"{index:06d}" for index in range(count)]
    require_own_masks(named)
    return named


def require_own_masks(names: list[str]) -> None:
    """InputError naming two images, as a.png and a.jpg, that share a mask's name."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(mask_name(name), name)
        if other != name:
            raise InputError(f"images {other} and {name} would have one mask, {mask_name(name)}; rename one of them")


def prepare(folder: Path, names: list[str], draw: Callable[[int], np.ndarray]) -> tuple[int, float]:
    """Store the mask of every image; one that is there stays. Returns how many are new, and the mean share of their holes."""
    shares = []
    for index, name in enumerate(names):
        path = folder / mask_name(name)
        if not path.exists():
            known = draw(index)
            save_mask(path, known)
            shares.append(1 - float(known.mean()))
    return len(shares), float(np.mean(shares)) if shares else 0.0
