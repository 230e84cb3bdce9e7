"""Tensors as PyTorch's files describe them: a view (offset, shape, stride) of a storage, whose numbers are read when wanted.

Everything is checked before memory is taken: a view lies inside its storage and is no larger, a storage is no larger than what
the file holds of it. So a file never costs more memory than its own size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sarigan.importing.pickle_reader import Builders, Global, Record

DTYPES = {
    "torch.FloatStorage": torch.float32, "torch.DoubleStorage": torch.float64, "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16, "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8, "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}  # fmt: skip
MAX_DIMENSIONS = 8
MAX_READS = 16  # a storage is read in whole for every tensor in it; in files of models each has its own


@dataclass(eq=False)
class Storage:
    """Numbers of one type in a row. `read` gives their bytes, which the container has found to be there."""

    dtype: torch.dtype
    num_elements: int
    read: Callable[[], bytes] | None = None
    num_reads: int = 0

    @property
    def num_bytes(self) -> int:
        """Of the whole storage."""
        return self.num_elements * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> Tensor:
        """The numbers, in memory of their own."""
        storage = self.storage
        assert storage.read is not None
        storage.num_reads += 1
        if storage.num_reads > MAX_READS:
            raise ValueError(f"more than {MAX_READS} tensors in one storage")
        data = storage.read()
        if len(data) != storage.num_bytes:
            raise ValueError(f"a storage of {storage.num_bytes:,} bytes, of which {len(data):,} are there")
        if math.prod(self.shape) == 0:
            return torch.empty(self.shape, dtype=storage.dtype)
        flat = torch.frombuffer(bytearray(data), dtype=storage.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


def storage_of(kind: Any, num_elements: Any) -> Storage:
    """A storage by the name of its class; ValueError for other classes and sizes that cannot be."""
    dtype = DTYPES.get(kind.path) if isinstance(kind, Global) else None
    if dtype is None or not _is_count(num_elements):
        raise ValueError("a storage of unknown type or size")
    return Storage(dtype, num_elements)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor without storage, shape or strides")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS or not all(map(_is_count, (offset, *shape, *stride))):
        raise ValueError("a tensor with an impossible shape")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    count = math.prod(shape)
    if count and (last >= storage.num_elements or count > storage.num_elements):
        raise ValueError(f"a tensor of {count:,} numbers in a storage of {storage.num_elements:,}")
    return StoredTensor(storage, offset, shape, stride)


def _rebuild_parameter(data: Any, *_: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError("a parameter without a tensor")
    return data


def _container(*items: Any) -> dict[Any, Any]:
    if items not in ((), ([],)):
        raise ValueError("a dictionary that is filled while it is made")
    return {}


# What PyTorch's own files of weights use, beside argparse.Namespace, in which rosinality's training keeps its options.
TENSOR_BUILDERS: Builders = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "collections.OrderedDict": _container,
    "argparse.Namespace": lambda *_: Record("argparse.Namespace"),
}
TENSOR_VALUES = frozenset(DTYPES)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
