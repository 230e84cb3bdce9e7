"""Statistics of real images on disk, filed under all that they depend on: the hash of the data set, and how they were computed.

One .npz a kind of statistics. Its name is the hash of the whole key and the key lies inside; it appears by one rename; each
array carries a checksum. A file that cannot be read, or whose key differs, counts as absent and is written anew.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sarigan import distributed
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.loader import ImageDataset, load_in_order
from sarigan.errors import InputError
from sarigan.files.paths import replace_file
from sarigan.files.reading import read_npz, reading
from sarigan.metrics.feature_statistics import FeatureStatistics, Moments
from sarigan.models.feature_networks.published_file import cache_folder

_CHUNK = 64
VERSION = 1  # raise it when the same key gives other statistics


class StatisticsCache:
    """Arrays by key. A key is a flat mapping of strings and numbers. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def load(self, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The arrays saved under exactly this key; None when there are none or they are damaged."""
        if self.folder is None:
            return None
        path = self._path(key)
        try:
            with reading(path, "file of statistics"):
                arrays = read_npz(path)
                if str(arrays.pop("key")) != _text(key):
                    return None
                return {name: torch.from_numpy(array) for name, array in arrays.items()}
        except InputError:
            return None

    def save(self, key: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
        """Save arrays under a key. On a full or read-only disk nothing is saved, and the evaluation goes on."""
        if self.folder is None:
            return
        values: dict[str, Any] = {name: array.cpu().numpy() for name, array in arrays.items()}
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda file: np.savez(file, key=np.array(_text(key)), **values), shared=True)
        except OSError:
            return

    def find(self, key: Mapping[str, Any], keep_features: bool, device: torch.device) -> FeatureStatistics | None:
        """The statistics that `keep` saved, moments on the device; None on every process when one process lacks a part."""
        moments = self.load({"kind": "moments", **key})
        kept = self.load({"kind": "features", **key}) if keep_features and moments else None
        usable = moments is not None and (kept is not None or not keep_features)
        # A pass over the images is the work of all processes: all of them need it or none.
        if not all(distributed.gather_objects(usable)) or moments is None:
            return None
        found = Moments(int(moments["count"]), *(moments[name].to(device) for name in ("mean", "scatter")))
        return FeatureStatistics(found, None if kept is None else kept["features"])

    def keep(self, key: Mapping[str, Any], statistics: FeatureStatistics) -> None:
        """Save moments, and features where there are any, under a key of their own each."""
        found = statistics.moments
        moments = {"count": torch.tensor(found.count), "mean": found.mean, "scatter": found.scatter}
        self.save({"kind": "moments", **key}, moments)
        if statistics.features is not None:
            self.save({"kind": "features", **key}, {"features": statistics.features})

    def _path(self, key: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(_text(key).encode()).hexdigest()}.npz"


def default_folder() -> Path:
    """$SARIGAN_CACHE/statistics, else ~/.cache/sarigan/statistics."""
    return cache_folder() / "statistics"


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps({"version": VERSION, **key}, sort_keys=True)


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
