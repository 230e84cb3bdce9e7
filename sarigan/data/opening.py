"""A set of images by its path alone, every image as it is stored."""

from pathlib import Path

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.file import is_lmdb
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError

NUM_AVATARS = 100_000


def open_images(source: str | Path, resolution: int | None = None) -> ImageDataset:
    """A prepared set, a folder or a zip file of square images, or `avatars`. Nothing is ever resized.

    resolution: the size that is wanted, None takes what there is (of a prepared set the largest). InputError names the
    source when it holds images of another size, or none.
    """
    if str(source) == "avatars":
        if resolution is None:
            raise InputError("avatars: are drawn in any size; here something else has to tell which")
        return AvatarDataset(resolution, NUM_AVATARS)
    path = Path(source)
    if is_lmdb(path) or path.suffix == ".lmdb":
        return LmdbDataset(path, resolution)
    size = ImageFolderDataset(path, 1).first_size
    if resolution is not None and size != (resolution, resolution):
        raise InputError(
            f"{path}: its images are {size[0]}x{size[1]}, wanted {resolution}x{resolution}; prepare a set of that size:"
            f" scripts/prepare_data.py {path} NEW --resolution {resolution}"
        )
    return ImageFolderDataset(path, size[0])
