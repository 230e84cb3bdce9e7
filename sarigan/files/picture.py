"""Picture files: every one is opened here, by its content, in formats that run no program, and within bounds on memory.

`decode_picture` is the one way from a file to pixels, for image folders, zip files, data preparation and projection alike:
an upright 8-bit RGB picture. EXIF orientation is applied. Grey values repeat in all channels, palettes are looked up, 16-bit
grey is value * 255 / 65535, rounded; of 16-bit colours Pillow keeps the high byte. CMYK is converted without its profile.
Transparency is composited over white unless the caller chooses otherwise. Refused, because any guess could be silently wrong:
Lab, floating-point and 32-bit pixels, animations, and decompression bombs.
"""

import io
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from sarigan.errors import InputError
from sarigan.files.reading import reading, reason_of

# Pillow tells them by content, whatever the name says. Left to itself it would start Ghostscript for PostScript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# A file of some kB can claim any size. Twice 8192 x 8192, the largest image of a prepared set, leaves room for an oblong
# picture that it is cut from; converting takes up to 16 bytes a pixel, 2 GiB.
MAX_PIXELS = 2 * 8192**2
MAX_SIDE = 65_535  # of JPEG; decoders hold whole rows
MAX_FILE_BYTES = 4 * MAX_PIXELS  # 512 MiB: as many pixels with alpha, uncompressed. A zip member can unpack to a thousandfold
ALPHAS = ("white", "black", "drop", "refuse")  # transparent pixels: over white | over black | ignore alpha | BrokenPicture
_REFUSED_MODES = {"LAB": "Lab", "HSV": "HSV", "F": "floating-point"}
_EXIF_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BrokenPicture(Exception):
    """This picture cannot be used; the message is the reason."""


@contextmanager
def opened_picture(data: bytes) -> Iterator[ImageFile]:
    """The picture in the bytes of a file, not yet decoded. Whatever decoding it in the block raises becomes BrokenPicture."""
    if not data:
        raise BrokenPicture("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below counts
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
            raise Image.DecompressionBombError
        if image.format == "PNG":
            _check_png(data)
        yield image
    except (BrokenPicture, InputError):
        raise
    except UnidentifiedImageError:  # its own message names an object's address
        raise BrokenPicture("unknown or damaged image format") from None
    except Image.DecompressionBombError:
        bounds = f"more than {MAX_PIXELS:,} pixels or a side over {MAX_SIDE:,}"
        raise BrokenPicture(f"{bounds}, perhaps a decompression bomb") from None
    except Exception as error:  # damaged bytes make decoders raise anything
        raise BrokenPicture(" ".join(str(error).split())[:200] or type(error).__name__) from None


def decode_picture(data: bytes, alpha: str = "white") -> tuple[Image.Image, list[str]]:
    """The bytes of a file -> an upright RGB picture, and what had to be converted (`grey`, `palette`, ...). BrokenPicture."""
    with opened_picture(data) as image:
        num_frames = getattr(image, "n_frames", 1)
        if num_frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG with previews behind it
            raise BrokenPicture(f"an animation or a stack of {num_frames} pictures")
        if image.mode in _REFUSED_MODES:
            raise BrokenPicture(f"{_REFUSED_MODES[image.mode]} pixels; convert it to 8-bit RGB first")
        has_16_bits = image.mode.startswith("RGB") and any("16" in str(tile[3]) for tile in image.tile)
        image.load()
        notes = []
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            ImageOps.exif_transpose(image, in_place=True)
            notes.append("turned as EXIF says")
        picture = _to_rgb(image, alpha, notes)
    return picture, notes + ["16-bit colour"] * has_16_bits


def _to_rgb(image: Image.Image, alpha: str, notes: list[str]) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int32)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise BrokenPicture("32-bit pixels; convert it to 8-bit RGB first")
        notes.append("16-bit grey")
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8)).convert("RGB")  # 65535 = 255 * 257, odd: no ties
    if image.mode in ("P", "CMYK"):
        notes.append({"P": "palette"}.get(image.mode, image.mode))
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
    return image.convert("RGB")


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file. BrokenPicture for what is no readable regular file; OSError when the disk fails."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BrokenPicture("not a regular file")
        check_file_bytes(status.st_size)
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise BrokenPicture("a link to nothing") from None
        raise
    except PermissionError:
        raise BrokenPicture("permission denied") from None


def check_file_bytes(size: int) -> None:
    """BrokenPicture for a file, or what an archive says of one, that is too large to be read into memory."""
    if size > MAX_FILE_BYTES:
        raise BrokenPicture(f"{size:,} bytes, perhaps a decompression bomb; at most {MAX_FILE_BYTES:,} are read")


def _check_png(data: bytes) -> None:
    """Every chunk is length, type, data, CRC-32 of type and data (PNG specification, 5.3). Pillow passes over IDAT's."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind, expected = data[at + 4 : at + 8], data[end : end + 4]
        if len(expected) < 4:
            break
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(expected, "big"):
            raise BrokenPicture(f"a damaged PNG file (wrong CRC of {kind.decode('ascii', 'replace')})")
        if kind == b"IEND":
            return
        at = end + 4
    raise BrokenPicture("a truncated PNG file")


class ZipPictures:
    """The members of a zip file by name; of members with one name the last counts, as in every unzip program.

    Each process opens the file itself on first use, because a forked one would share the position in it; pickles to its path.
    InputError when it is no readable zip file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None  # with the process that opened it

    def names(self) -> list[str]:
        """Of all files in it, in any order."""
        return [name for name in self._archive().NameToInfo if not name.endswith("/")]

    def stamp(self, name: str) -> str:
        """Changes when the member does."""
        info = self._archive().getinfo(name)
        return f"{info.file_size} {info.CRC:08x}"

    def read(self, name: str, size: int | None = None) -> bytes:
        """A member, or its first `size` bytes. BrokenPicture when it is too large, damaged or encrypted."""
        info = self._archive().getinfo(name)
        check_file_bytes(info.file_size)
        if info.header_offset + info.compress_size > os.path.getsize(self.path):
            raise BrokenPicture("a damaged zip member (it lies beyond the end of the file)")
        try:
            with self._archive().open(info) as member:
                data = member.read(info.file_size if size is None else size)  # read() alone would unpack more than it claims
        except Exception as error:  # damaged bytes make zipfile raise anything
            raise BrokenPicture(reason_of(error)) from None
        if size is None and len(data) != info.file_size:
            raise BrokenPicture("a damaged zip member (its size differs)")
        return data

    def _archive(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            with reading(self.path, "zip file", hint="copy or download it again"):
                self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_opened": None}
