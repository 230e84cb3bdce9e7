"""A folder or a zip file of images as a data set, in the order of their POSIX paths.

`sarigan.files.picture` says how a file becomes pixels; transparency is composited over white.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterator
from operator import index as as_int
from pathlib import Path

import numpy as np
from PIL import Image

from sarigan.data.labels import ClassLabels
from sarigan.data.prepare.attribute_table import AttributeTable
from sarigan.errors import InputError
from sarigan.files.paths import kind_of
from sarigan.files.picture import BrokenPicture, ZipPictures, decode_picture, read_picture
from sarigan.files.reading import read_bytes, reading, reason_of

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CROPS = ("none", "center")
MAX_TABLE_BYTES = 1 << 30
KEY_IMAGES, KEY_BYTES = 64, 65536  # the first bytes of at most so many images enter the content key


class ImageFolderDataset:
    """Images uint8 [3,R,R] of a folder (with its subfolders) or of a zip file. Hidden files and __MACOSX are skipped.

    crop "none" takes square images, all of the first one's size; "center" cuts the middle square out of any.
    Larger squares are reduced to R with antialiased Lanczos; smaller ones are refused.
    Raises InputError (one line, naming path and zip member) for what is wrong with the path or an image.
    """

    def __init__(self, path: str | Path, resolution: int, crop: str = "none") -> None:
        if crop not in CROPS:
            raise InputError(f'data.crop must be "none" or "center", got "{crop}"')
        if resolution < 1:
            raise InputError(f"generator.resolution must be at least 1, got {resolution}")
        self.path = Path(path)
        self.resolution = resolution
        self.crop = crop
        self._zip = ZipPictures(self.path)
        kind = kind_of(self.path)
        if kind is None:
            raise InputError(f"{self.path}: no such file or folder")
        self.is_zip = kind == "file"
        self.names = self._list_zip() if self.is_zip else self._list_folder()
        if not self.names:
            raise InputError(f"{self.path}: no images found; looked for {' '.join(EXTENSIONS)}")
        self._first_size: tuple[int, int] | None = None
        self._first_size = self._load(0).size

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: uint8 [3,R,R], RGB."""
        index = as_int(index)
        if not 0 <= index < len(self.names):
            raise IndexError(f"{self.path}: index {index} is out of range for {len(self.names)} images")
        image = self._load(index)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        if side > self.resolution:
            image = image.resize((self.resolution, self.resolution), Image.Resampling.LANCZOS)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def class_labels(self, source: str) -> ClassLabels:
        """By folder (`folders`: the first below the one that all images share), by dataset.json, or by a CSV file.

        A table lies in the set or elsewhere. It may leave out the folder that all images share.
        """
        shared = len(os.path.commonpath([os.path.dirname(name) for name in self.names]))
        inner = [name[shared:].lstrip("/") for name in self.names]
        if source == "folders":
            classes = [name.partition("/")[0] if "/" in name else None for name in inner]
            return ClassLabels.of_names(classes, self.names.__getitem__)
        if not source.endswith((".json", ".csv")):
            raise InputError(f"data.labels of a folder must be folders, dataset.json or a CSV file, got {source!r}")
        table = AttributeTable(self._read_table(source), source)
        if table.label_names is None:
            raise InputError(f"{source}: holds no classes: dataset.json needs one number a file, a CSV file a column `label`")
        number = {name: label for name, label, _ in table.rows}
        numbers = [number.get(name, number.get(part)) for name, part in zip(self.names, inner, strict=True)]
        return ClassLabels(table.label_names, numbers, self.names.__getitem__)

    def _read_table(self, source: str) -> bytes:
        with reading(source, "table of labels"):
            if self.is_zip and source in self._zip.names():
                return self._zip.read(source)
            inside = self.path / source
            return read_bytes(inside if not self.is_zip and inside.is_file() else Path(source), MAX_TABLE_BYTES)

    def describe(self) -> str:
        kind = "zip" if self.is_zip else "folder"
        size = f"{self.resolution}x{self.resolution}"
        return f"image_folder: {len(self)} images, {size}, {kind} {self.path}, crop {self.crop}"

    def heads(self, size: int) -> Iterator[bytes]:
        """The first `size` bytes of every file; nothing of one that cannot be read."""
        for name in self.names:
            try:
                yield self._head(name, size)
            except (OSError, BrokenPicture):  # whoever decodes it says so
                yield b""

    @property
    def first_size(self) -> tuple[int, int]:
        """Width and height of the first image as it is stored, in pixels."""
        assert self._first_size is not None
        return self._first_size

    @property
    def content_key(self) -> str:
        """Changes with resolution, crop, all names, and the bytes of a few images over the whole set: cheap for any number.

        Dates and places do not enter: a copy, or a zip file of the same images, has the same key.
        """
        digest = hashlib.sha256(repr(self.names).encode())
        for name in self.names[:: -(-len(self.names) // KEY_IMAGES)]:
            try:
                digest.update(self._head(name, KEY_BYTES))
            except (OSError, BrokenPicture) as error:
                raise InputError(f"{self.path}: {name}: cannot be read ({reason_of(error)})") from None
        return f"image_folder-{digest.hexdigest()[:16]}-r{self.resolution}-{self.crop}"

    def _head(self, name: str, size: int) -> bytes:
        if self.is_zip:
            return self._zip.read(name, size)
        with open(self.path / name, "rb") as file:
            return file.read(size)

    def _list_folder(self) -> list[str]:
        return sorted(filter(is_image_name, files_below(self.path)))

    def _list_zip(self) -> list[str]:
        if self.path.suffix.lower() != ".zip" and not zipfile.is_zipfile(self.path):
            raise InputError(f"{self.path}: neither a folder nor a zip file")
        return sorted(filter(is_image_name, self._zip.names()))

    def _load(self, index: int) -> Image.Image:
        """The upright RGB image, its size checked."""
        name = self.names[index]
        where = f"{self.path}: {name}" if self.is_zip else str(self.path / name)
        try:
            image, _ = decode_picture(self._zip.read(name) if self.is_zip else read_picture(self.path / name))
        except (BrokenPicture, OSError) as error:
            raise InputError(
                f"{where}: not a readable image ({reason_of(error)}); remove it, or train on a set that scripts/prepare_data.py"
                " makes, which leaves such pictures out"
            ) from None
        self._check_size(where, image.size)
        return image

    def _check_size(self, where: str, size: tuple[int, int]) -> None:
        found = f"{size[0]}x{size[1]}"
        if self.crop == "none" and self._first_size is not None and size != self._first_size:
            first = f"{self._first_size[0]}x{self._first_size[1]}"
            raise InputError(f"{where}: is {found}, the first image is {first}; data.crop=center accepts mixed sizes")
        if self.crop == "none" and size[0] != size[1]:
            raise InputError(f"{where}: is {found}, not square; data.crop=center cuts squares")
        if min(size) < self.resolution:
            raise InputError(f"{where}: is {found}, smaller than generator.resolution={self.resolution}")


def is_image_name(name: str) -> bool:
    """Whether a POSIX path has an image's extension and is neither hidden nor macOS's shadow of a file."""
    if not name.lower().endswith(EXTENSIONS):
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def files_below(root: Path) -> Iterator[str]:
    """POSIX paths of the files below `root`, in any order. InputError for a folder that cannot be listed.

    A link to a folder is followed, but not to one that it lies in: that would never end.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]  # with the folders on the way to it
    while waiting:
        relative, above = waiting.pop()
        folder = root / relative
        try:
            status = folder.stat()
            entries = [*os.scandir(folder)]
        except OSError as error:
            raise InputError(f"{folder}: cannot list the folder ({error.strerror})") from None
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if _is_folder(entry):
                waiting.append((path, above | {here}))
            else:
                yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
