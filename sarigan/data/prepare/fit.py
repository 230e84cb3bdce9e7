"""Crop and fit policies: a picture of any size -> R x R pixels (the SariGAN paper pads LSUN Cars' 512x384 to 512x512)."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from sarigan.data.layouts.files import resized_numbers
from sarigan.data.lmdb.format import Recipe
from sarigan.files.picture import BrokenPicture

_RESAMPLING = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}


class UnfitPicture(Exception):
    """This picture is fine, but the recipe leaves it out; the message is the reason."""


class Fit(NamedTuple):
    """The rectangle that is cut out of the picture and the size it is brought to, both (width, height)."""

    left: int
    top: int
    cut: tuple[int, int]
    size: tuple[int, int]


def plan_fit(width: int, height: int, crop: str, resolution: int) -> Fit:
    """Raises BrokenPicture for a picture that is not square where `crop` cuts nothing."""
    whole = (width, height)
    if crop == "none":
        if width != height:
            raise BrokenPicture(f"is {width}x{height}, not square; --crop center cuts the middle square")
        return Fit(0, 0, whole, (resolution, resolution))
    if crop == "pad":
        longest = max(whole)
        return Fit(0, 0, whole, (_scaled(width, resolution, longest), _scaled(height, resolution, longest)))
    if crop == "center":
        cut, size = (min(whole), min(whole)), (resolution, resolution)
    else:  # center_wide: 4:3
        wide = width * 3 >= height * 4
        cut = (max(1, round(height * 4 / 3)), height) if wide else (width, max(1, round(width * 3 / 4)))
        size = (resolution, _scaled(3, resolution, 4))
    return Fit((width - cut[0]) // 2, (height - cut[1]) // 2, cut, size)


def fit_picture(picture: Image.Image, recipe: Recipe, resolution: int) -> Image.Image:
    """RGB of any size -> RGB of R x R, resized at once from the cut. Raises BrokenPicture or UnfitPicture."""
    fit = plan_fit(*picture.size, recipe.crop, resolution)
    if not recipe.enlarge and (fit.cut[0] < fit.size[0] or fit.cut[1] < fit.size[1]):
        width, height = fit.size
        raise UnfitPicture(f"is {picture.width}x{picture.height}, too small for {width}x{height}")
    if fit.cut != picture.size:
        picture = picture.crop((fit.left, fit.top, fit.left + fit.cut[0], fit.top + fit.cut[1]))
    if fit.cut != fit.size:
        picture = picture.resize(fit.size, _RESAMPLING[recipe.resize_filter])
    if fit.size == (resolution, resolution):
        return picture
    canvas = Image.new("RGB", (resolution, resolution))  # zeros
    canvas.paste(picture, ((resolution - fit.size[0]) // 2, (resolution - fit.size[1]) // 2))
    return canvas


def fit_numbers(numbers: np.ndarray, recipe: Recipe, resolution: int, outside: int) -> np.ndarray:
    """Numbers of any size [H,W] -> [R,R] by the same rectangle as the picture, the nearest ones; `outside` beside it."""
    fit = plan_fit(numbers.shape[1], numbers.shape[0], recipe.crop, resolution)
    cut = numbers[fit.top : fit.top + fit.cut[1], fit.left : fit.left + fit.cut[0]]
    width, height = fit.size
    found = np.full((resolution, resolution), outside, dtype=np.int64)
    left, top = (resolution - width) // 2, (resolution - height) // 2
    found[top : top + height, left : left + width] = resized_numbers(cut, (height, width))
    return found


def _scaled(length: int, resolution: int, longest: int) -> int:
    return max(1, round(length * resolution / longest))
