"""PyTorch's two file formats, read without PyTorch's loader: the zip archive (since 1.6) and the row of pickles before it.

The older format also lies inside NVIDIA's pickles, once for every tensor.
"""

import functools
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sarigan.importing.pickle_reader import BoundedStream, Budget, PickleReader
from sarigan.importing.stored_tensor import TENSOR_BUILDERS, TENSOR_VALUES, Storage, storage_of

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 256 << 20  # of the part of a zip archive that holds no numbers


def read_archive(path: Path) -> Any:
    """What a zip archive of PyTorch holds, tensors as `StoredTensor`. Any exception when it is damaged or something else."""
    archive = zipfile.ZipFile(path)  # stays open as long as a tensor may be read
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip archive without a data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise ValueError("a TorchScript program, which holds code; a file of weights is right")
    order = members.get(f"{prefix}byteorder")
    if order is not None and _member(archive, order) != b"little":
        raise ValueError("numbers of a big-endian machine")
    storages: dict[str, Storage] = {}

    def persistent(reference: Any) -> Storage:
        kind, key, count = _reference(reference, 5)
        if key not in storages:
            storage = storage_of(kind, count)
            info = members.get(f"{prefix}data/{key}")
            if info is None or info.file_size != storage.num_bytes:
                raise ValueError(f"storage {key[:40]} of {storage.num_bytes:,} bytes is not there")
            storage.read = functools.partial(_member, archive, info)
            storages[key] = storage
        return storages[key]

    data = _member(archive, members[pickles[0]], MAX_PICKLE_BYTES)
    return PickleReader(TENSOR_BUILDERS, TENSOR_VALUES, persistent).read(BoundedStream(io.BytesIO(data)))


def read_legacy(open_file: Callable[[], BinaryIO], budget: Budget | None = None) -> Any:
    """What a file of the older format holds; `open_file` opens it at its start, whenever numbers are wanted."""
    with open_file() as file:
        stream = BoundedStream(file)
        if not is_legacy(stream, budget):
            raise ValueError("not a file of PyTorch")
        budget = budget or Budget()
        plain = PickleReader({}, budget=budget)
        about = plain.read(stream)
        if not isinstance(about, dict) or about.get("little_endian") is not True:
            raise ValueError("numbers of a big-endian machine")
        storages: dict[str, Storage] = {}

        def persistent(reference: Any) -> Storage:
            kind, key, count = _reference(reference, 6)
            return storages.setdefault(key, storage_of(kind, count))

        value: Any = PickleReader(TENSOR_BUILDERS, TENSOR_VALUES, persistent, budget).read(stream)
        keys = plain.read(stream)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
            raise ValueError("the storages are not those that its tensors name")
        for key in keys:
            storage = storages[key]
            (count,) = struct.unpack("<q", stream.read(8))
            if count != storage.num_elements:
                raise ValueError(f"storage {key[:40]} holds {count:,} numbers, {storage.num_elements:,} are named")
            storage.read = _range_reader(open_file, stream.tell(), storage.num_bytes)
            stream.skip(storage.num_bytes)
        return value


def is_legacy(stream: BoundedStream, budget: Budget | None = None) -> bool:
    """Whether the older format begins here; moves behind its first two pickles. Any exception for what is no pickle."""
    reader = PickleReader({}, budget=budget)
    return bool(reader.read(stream) == LEGACY_MAGIC) and bool(reader.read(stream) == LEGACY_PROTOCOL)


def _reference(reference: Any, length: int) -> tuple[Any, str, Any]:
    """Class, key and number of elements of the storage that an external reference names."""
    if not isinstance(reference, tuple) or len(reference) != length or reference[0] != "storage":
        raise ValueError("an external reference to something that is no storage")
    if not isinstance(reference[2], str) or reference[5:] not in ((), (None,)):
        raise ValueError("a storage without a name, or a view of one")
    return reference[1], reference[2], reference[4]


def _range_reader(open_file: Callable[[], BinaryIO], start: int, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open_file() as file:
            file.seek(start)
            return file.read(size)

    return read


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int | None = None) -> bytes:
    """A member of an archive, its checksum compared."""
    assert archive.filename is not None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{info.filename[:80]} is compressed, perhaps a decompression bomb")
    if info.header_offset + info.file_size > os.path.getsize(archive.filename):
        raise ValueError(f"{info.filename[:80]} lies beyond the end of the file")
    if max_bytes is not None and info.file_size > max_bytes:
        raise ValueError(f"{info.filename[:80]} holds {info.file_size:,} bytes, at most {max_bytes:,} are read")
    return archive.read(info)
