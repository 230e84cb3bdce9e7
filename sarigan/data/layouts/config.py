"""Training images with layouts, as a configuration names them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sarigan.data.avatars.dataset import PART_NAMES, AvatarDataset
from sarigan.data.labels import ClassifiedDataset
from sarigan.data.layouts.folder import FolderOrZip, LayoutFolder, read_table
from sarigan.data.layouts.prepared import PreparedLayouts
from sarigan.data.lmdb.dataset import is_lmdb
from sarigan.data.lmdb.format import LayoutRecipe
from sarigan.data.loader import DataConfig
from sarigan.errors import InputError, require_at_least_1, require_at_most

MAX_CLASSES = 4096


@dataclass(frozen=True)
class LayoutDataConfig(DataConfig):
    """Images and their layouts. `avatars` have exact ones of 10 parts; a folder has `images/` and `labels/`."""

    height: int | None = None  # of the images, in pixels; null: the generator's
    num_classes: int = len(PART_NAMES)  # values of a layout are 0 .. num_classes - 1, and `void`
    void: int | None = None  # value in the files that means "no class", 255 as a rule: a channel of its own; null: none
    instances: bool = False  # `instances/` holds numbers of objects, whose edges are a channel of the layout
    # A text file with a line R G B name for each class, in their order, where labels are colours; null: they are numbers
    colors: str | None = None

    load_resolution: int | None = None  # of folders: width to which samples are resized before a random cut; null: no cut

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least_1(self, "height", "num_classes", "load_resolution", prefix="data.")
        require_at_most("data", self, height=1 << 16, load_resolution=1 << 16, num_classes=MAX_CLASSES)
        if self.labels is not None:
            raise InputError(f"data.labels must be null: a layout says what the image is of, got {self.labels!r}")
        if self.void is not None and not self.num_classes <= self.void < 1 << 16:
            raise InputError(
                f"data.void must be a value that no class has, from num_classes = {self.num_classes}, or null, got {self.void}"
            )
        if self.name == "avatars":
            given = {"num_classes": self.num_classes != len(PART_NAMES), "void": self.void is not None,
                     "instances": self.instances, "colors": self.colors is not None}  # fmt: skip
            for name in (name for name, is_given in given.items() if is_given):
                raise InputError(
                    f"data.{name}: avatars have {len(PART_NAMES)} parts, no void, no instances and no colours,"
                    f" got {getattr(self, name)}"
                )

    @property
    def layout_channels(self) -> int:
        """Channels of a layout as networks see it: classes, void, edges."""
        return self.num_classes + (self.void is not None) + self.instances

    def recipe(self) -> LayoutRecipe:
        """What the layouts of a prepared set of this kind mean."""
        return LayoutRecipe(self.num_classes, self.void is not None, self.instances)

    def class_names(self) -> list[str]:
        """Of avatars their parts, of a table of colours its names, else numbers."""
        if self.name == "avatars":
            return [*PART_NAMES]
        if self.colors is not None and self.path is not None:
            return read_table(FolderOrZip(Path(self.path)), self.colors).names[: self.num_classes]
        return [f"class {number}" for number in range(self.num_classes)]

    def load_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width before the random cut of `size` (height, width), which has the same aspect."""
        if self.load_resolution is None:
            return size
        return round(size[0] * self.load_resolution / size[1]), self.load_resolution

    def open(self, resolution: int) -> ClassifiedDataset:
        """The images, each with its layout among its `extras`."""
        size = (self.height or resolution, resolution)
        if self.name == "avatars":
            if size[0] != size[1]:
                raise InputError(f"generator.height of avatars must be null: they are square, got {size[0]}")
            return AvatarLayouts(resolution, self.num_images, self.seed)
        assert self.path is not None
        if self.load_resolution is not None and self.load_resolution < resolution:
            raise InputError(
                f"data.load_resolution must be at least generator.resolution={resolution}, or null, got {self.load_resolution}"
            )
        return open_layouts(self, self.path, size)


def open_layouts(config: LayoutDataConfig, path: str, size: tuple[int, int]) -> ClassifiedDataset:
    """A set of images with layouts at a path, read as `config` says. size: height and width."""
    if is_lmdb(Path(path)) and config.load_resolution is not None:
        raise InputError(f"{path}: data.load_resolution cuts pictures of folders; of a prepared set it must be null")
    if is_lmdb(Path(path)) or Path(path).suffix == ".lmdb":
        return PreparedLayouts(Path(path), size, config)
    return LayoutFolder(Path(path), size, config)


class AvatarLayouts(AvatarDataset):
    """Avatars with their part masks as layouts."""

    def extras(self, index: int) -> dict[str, np.ndarray]:
        """layout: int64 [R,R], an index into `PART_NAMES`."""
        return {"layout": self.mask(index).astype(np.int64)}
