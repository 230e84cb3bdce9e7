"""Any picture file -> an upright 8-bit RGB picture, by rules that are stated and counted, or a reason why not.

Grey values repeat in all channels; palettes are looked up; 16-bit grey values are divided by 257 and rounded, of 16-bit
colours Pillow keeps the high byte; EXIF orientation is applied. Transparency follows the recipe. Refused, because any
guess could be silently wrong: CMYK and Lab (their profile decides the colours), floating-point pixels, animations, and
decompression bombs.
"""

import numpy as np
from PIL import Image, ImageOps

from sarigan.files.picture import BrokenPicture, opened_picture

_REFUSED_MODES = {"CMYK": "CMYK", "LAB": "Lab", "HSV": "HSV", "F": "floating-point"}


class UnfitPicture(Exception):
    """This picture is fine, but the recipe leaves it out; the message is the reason."""


def open_picture(data: bytes, alpha: str) -> tuple[Image.Image, list[str]]:
    """RGB picture and what had to be converted (`grey`, `palette`, ...). Raises BrokenPicture."""
    with opened_picture(data) as image:
        _refuse(image)
        has_16_bits = image.mode.startswith("RGB") and any("16" in str(tile[3]) for tile in image.tile)
        image.load()
        picture, notes = _to_rgb(image, alpha)
    return picture, notes + ["16-bit colour"] * has_16_bits


def _refuse(image: Image.Image) -> None:
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG with previews behind it
        raise BrokenPicture(f"an animation or a stack of {num_frames} pictures")
    if image.mode in _REFUSED_MODES:
        raise BrokenPicture(f"{_REFUSED_MODES[image.mode]} pixels; convert it to 8-bit RGB first")


def _to_rgb(image: Image.Image, alpha: str) -> tuple[Image.Image, list[str]]:
    notes = []
    if image.getexif().get(0x0112, 1) != 1:
        ImageOps.exif_transpose(image, in_place=True)
        notes.append("turned as EXIF says")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, notes
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int32)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise BrokenPicture("32-bit pixels; convert it to 8-bit RGB first")
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8)).convert("RGB"), [*notes, "16-bit grey"]
    if image.mode == "P":
        notes.append("palette")
    elif image.mode in ("1", "L", "LA", "La"):
        notes.append("grey")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            if alpha == "refuse":
                raise BrokenPicture("transparent pixels (--alpha says what to do with them)")
            notes.append("alpha dropped" if alpha == "drop" else f"transparency over {alpha}")
            if alpha != "drop":
                image = Image.alpha_composite(Image.new("RGBA", image.size, alpha), image)
    return image.convert("RGB"), notes
