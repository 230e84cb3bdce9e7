"""The hash of a data set's pixels: what cached statistics are filed under."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sarigan import distributed
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.loader import ImageDataset, load_in_order

_CHUNK = 64


def content_hash(
    dataset: ImageDataset, num_workers: int = 0, progress: Callable[[int, str], Callable[[int], None]] | None = None
) -> str:
    """Hexadecimal SHA256 of the images in their order; names, dates and the place of the files do not enter.

    A prepared set carries the hash of its records in its header, and avatars are a function of few numbers. Of a folder
    or zip file every image is decoded and hashed: no date or size of a file is trusted. Processes share the work.
    """
    if isinstance(dataset, LmdbDataset):
        return _digest(f"lmdb {dataset.header.content_hash} {dataset.resolution}")
    if isinstance(dataset, AvatarDataset):
        return _digest(dataset.content_key)
    chunks = [range(start, min(start + _CHUNK, len(dataset))) for start in range(0, len(dataset), _CHUNK)]
    own = chunks[distributed.rank() :: distributed.world_size()]
    advance = progress(len(dataset), "hashing the data") if progress else lambda count: None
    digests: dict[int, bytes] = {}
    for chunk, rows in zip(own, load_in_order(_Digests(dataset, own), num_workers), strict=True):
        digests |= {index: row.numpy().tobytes() for index, row in zip(chunk, rows, strict=True)}
        advance(len(chunk))
    for part in distributed.gather_objects(digests):
        digests |= part
    return hashlib.sha256(b"".join(digests[index] for index in range(len(dataset)))).hexdigest()


class _Digests(Dataset):
    """SHA256 of each image of a chunk, uint8 [n,32]."""

    def __init__(self, dataset: ImageDataset, chunks: list[range]) -> None:
        self.dataset, self.chunks = dataset, chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> Tensor:
        return torch.stack([_image_digest(self.dataset[index]) for index in self.chunks[number]])


def _image_digest(image: np.ndarray) -> Tensor:
    digest = hashlib.sha256(repr((image.shape, image.dtype.str)).encode() + np.ascontiguousarray(image).tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
