"""A folder or zip file with `images/`, `labels/` and perhaps `instances/`: partners have one path but for the ending."""

import hashlib
from operator import index as as_int
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from sarigan.data.image_folder import KEY_BYTES, KEY_IMAGES, files_below, is_image_name
from sarigan.data.labels import ClassLabels
from sarigan.data.layouts.edges import instance_edges
from sarigan.data.layouts.files import ColorTable, LayoutReader, LayoutSettings, read_numbers, resized_numbers
from sarigan.errors import InputError
from sarigan.files.paths import kind_of
from sarigan.files.picture import BrokenPicture, ZipPictures, decode_picture, read_picture
from sarigan.files.reading import read_bytes, reading, reason_of
from sarigan.seeding import derive_seed

IMAGES, LABELS, INSTANCES = "images", "labels", "instances"
MAX_TABLE_BYTES = 1 << 20


class FolderOrZip:
    """Files by POSIX path below a folder, or in a zip file. InputError when it is neither."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kind = kind_of(path)
        if kind is None:
            raise InputError(f"{path}: no such file or folder")
        self.zip = ZipPictures(path) if kind == "file" else None

    def names(self) -> list[str]:
        """Of all files, sorted."""
        return sorted(self.zip.names() if self.zip is not None else files_below(self.path))

    def read(self, name: str) -> bytes:
        """The bytes of a file. InputError naming it."""
        try:
            return self.zip.read(name) if self.zip is not None else read_picture(self.path / name)
        except (BrokenPicture, OSError) as error:
            raise InputError(f"{self.where(name)}: not a readable picture ({reason_of(error)})") from None

    def stamp(self, name: str) -> str:
        """Changes when the file does."""
        if self.zip is not None:
            return self.zip.stamp(name)
        status = (self.path / name).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def where(self, name: str) -> str:
        """A file's place for a person."""
        return f"{self.path}: {name}" if self.zip is not None else str(self.path / name)


class LayoutFolder:
    """Images uint8 [3,H,W] with layouts int64 [H,W], and edges uint8 [H,W] where the configuration has instances.

    Images are resized bicubic, layouts and instances nearest; crop "center" first cuts the middle of the wanted aspect,
    "none" changes the aspect as the release does. InputError for what is wrong with a file or its partner.
    """

    def __init__(self, path: Path, size: tuple[int, int], config: LayoutSettings) -> None:
        self.path, self.size, self.config, self.resolution = path, size, config, size[1]
        self.files = FolderOrZip(path)
        self.reader = LayoutReader(
            config.num_classes, config.void, None if config.colors is None else read_table(self.files, config.colors)
        )
        folders = [IMAGES, LABELS, *([INSTANCES] if config.instances else [])]
        by_stem: dict[str, dict[str, str]] = {folder: {} for folder in folders}
        for name in filter(is_image_name, self.files.names()):
            folder, _, rest = name.partition("/")
            if folder in by_stem:
                stem = PurePosixPath(rest).with_suffix("").as_posix()
                other = by_stem[folder].setdefault(stem, name)
                if other != name:
                    raise InputError(
                        f"{self.files.where(name)}: {other} has the same name but for its ending; rename one of them"
                    )
        for folder in folders:
            if not by_stem[folder]:
                raise InputError(f"{path}: holds no pictures in {folder}/; a set has {' and '.join(f'{f}/' for f in folders)}")
        for folder in folders[1:]:
            for here, there in ((IMAGES, folder), (folder, IMAGES)):
                missing = sorted(by_stem[here].keys() - by_stem[there].keys())
                if missing:
                    raise InputError(
                        f"{self.files.where(by_stem[here][missing[0]])}: has no partner {there}/{missing[0]}.*"
                        f" ({len(missing)} of {len(by_stem[here])} have none)"
                    )
        self.stems = sorted(by_stem[IMAGES])
        self.by_stem = by_stem
        self.names = [by_stem[IMAGES][stem] for stem in self.stems]

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: uint8 [3,H,W], RGB."""
        return self.arrays(index)["images"]

    def extras(self, index: int) -> dict[str, np.ndarray]:
        """layout, and edges where there are instances."""
        return {name: array for name, array in self.arrays(index).items() if name != "images"}

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """Everything of one sample, read once."""
        return self._fitted(index, self.size, (0, 0))

    def arrays_at(self, index: int, position: int, seed: int) -> dict[str, np.ndarray]:
        """A sample as training sees it at a position of a run: enlarged to `load_resolution`, and cut at random."""
        load = self.config.load_size(self.size)
        random = np.random.default_rng(derive_seed(seed, "crop", position))
        offset = [int(random.integers(large - small + 1)) for large, small in zip(load, self.size, strict=True)]
        return self._fitted(index, load, (offset[0], offset[1]))

    def class_labels(self, source: str) -> ClassLabels:
        """None: InputError."""
        raise InputError(f"{self.path}: data.labels must be null: a layout says what the image is of, got {source!r}")

    def describe(self) -> str:
        height, width = self.size
        kind = "zip" if self.files.zip is not None else "folder"
        return f"layouts: {len(self)} images, {width}x{height}, {self.config.num_classes} classes, {kind} {self.path}"

    @property
    def content_key(self) -> str:
        """Changes with size, names, what layouts mean, and the bytes of a few files over the whole set."""
        config = self.config
        table = None if self.reader.colors is None else self.reader.colors.colors.tobytes()
        meaning = (config.num_classes, config.void, config.instances, config.crop, table)
        digest = hashlib.sha256(repr((self.by_stem, meaning, config.load_size(self.size))).encode())
        for stem in self.stems[:: -(-len(self.stems) // KEY_IMAGES)]:
            for names in self.by_stem.values():
                digest.update(self.files.read(names[stem])[:KEY_BYTES])
        return f"layouts-{digest.hexdigest()[:16]}-r{self.size[1]}x{self.size[0]}"

    def _fitted(self, index: int, load: tuple[int, int], offset: tuple[int, int]) -> dict[str, np.ndarray]:
        index = as_int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: index {index} is out of range for {len(self)} images")
        image, numbers = self.read(self.stems[index])
        window = tuple(slice(start, start + length) for start, length in zip(offset, self.size, strict=True))
        cut = center_window(image.size[::-1], load) if self.config.crop == "center" else (0, 0, *image.size[::-1])
        top, left, height, width = cut
        whole = image.crop((left, top, left + width, top + height)).resize(load[::-1], Image.Resampling.BICUBIC)
        fitted = {
            name: resized_numbers(array[top : top + height, left : left + width], load) for name, array in numbers.items()
        }
        found = {"images": np.ascontiguousarray(np.asarray(whole)[window].transpose(2, 0, 1)), "layout": fitted[LABELS][window]}
        if INSTANCES in fitted:
            found["edges"] = instance_edges(fitted[INSTANCES])[window]
        return found

    def read(self, stem: str) -> tuple[Image.Image, dict[str, np.ndarray]]:
        """The image, and the numbers of its partners, all of one size."""
        names = {folder: by_stem[stem] for folder, by_stem in self.by_stem.items()}
        try:
            image, _ = decode_picture(self.files.read(names[IMAGES]))
        except BrokenPicture as error:
            raise InputError(f"{self.files.where(names[IMAGES])}: not a readable image ({reason_of(error)})") from None
        numbers = {}
        for folder in self.by_stem:
            if folder == IMAGES:
                continue
            where, data = self.files.where(names[folder]), self.files.read(names[folder])
            numbers[folder] = self.reader.read(data, where) if folder == LABELS else read_numbers(data, where)
            if numbers[folder].shape != image.size[::-1]:
                height, width = numbers[folder].shape
                raise InputError(
                    f"{where}: is {width}x{height}, its image {names[IMAGES]} is {image.width}x{image.height};"
                    " they must be of one size"
                )
        return image, numbers


def read_table(files: FolderOrZip | None, source: str) -> ColorTable:
    """The table of colours inside a set, where there is one at hand, or elsewhere. InputError when it is none."""
    with reading(source, "table of colours"):
        if files is not None and source in files.names():
            data = files.read(source)
        else:
            data = read_bytes(Path(source), MAX_TABLE_BYTES)
        text = data.decode()
    return ColorTable.parse(text, source)


def center_window(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """top, left, height, width of the largest window in the middle of `size` with the aspect of `wanted`; (h, w) each."""
    height, width = size
    if height * wanted[1] > width * wanted[0]:
        cut = (max(1, round(width * wanted[0] / wanted[1])), width)
    else:
        cut = (height, max(1, round(height * wanted[1] / wanted[0])))
    return (height - cut[0]) // 2, (width - cut[1]) // 2, *cut
