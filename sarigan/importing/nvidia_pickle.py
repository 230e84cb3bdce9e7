"""NVIDIA's network pickles (stylegan2-ada-pytorch, stylegan3): modules as records, without the source text inside them.

Such a file stores every module as its class's name, the source text of the class, and its attributes. NVIDIA's own loader runs
that text. Here it is a text like any other.
"""

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sarigan.importing.pickle_reader import BoundedStream, Budget, PickleReader, Record, plain_key
from sarigan.importing.stored_tensor import TENSOR_BUILDERS, Storage, StoredTensor
from sarigan.importing.torch_file import read_legacy

MAX_MODULES = 10_000
MAX_DEPTH = 32
_SCALARS = {f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248"), ("b", "1")) for size in sizes}


def read_network_pickle(path: Path) -> Any:
    """The file's value: classes as `Record`, tensors as `StoredTensor`. RefusedGlobalError for what these files never name."""
    budget = Budget()

    def nested_storage(data: Any) -> Storage:
        if not isinstance(data, bytes):
            raise ValueError("a nested storage that is no row of bytes")
        storage = read_legacy(lambda: io.BytesIO(data), budget)
        if not isinstance(storage, Storage):
            raise ValueError("a nested file that holds no storage")
        return storage

    builders: dict[str, Callable[..., Any]] = {
        **TENSOR_BUILDERS,
        "torch_utils.persistence._reconstruct_persistent_obj": _record_of,
        "torch.storage._load_from_bytes": nested_storage,
        "dnnlib.util.EasyDict": TENSOR_BUILDERS["collections.OrderedDict"],
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy.dtype": lambda name, *_: Record("numpy.dtype", {"name": name}),
        "builtins.set": _set,
        "__builtin__.set": _set,
        "_codecs.encode": _encoded,
    }
    with open(path, "rb") as file:
        return PickleReader(builders, budget=budget).read(BoundedStream(file))


def modules_of(network: Record) -> Iterator[tuple[str, Record]]:
    """(dotted name, module) of a network and everything in it. ValueError when it is nested too deep, or without an end."""
    count = 0

    def walk(name: str, module: Any, depth: int) -> Iterator[tuple[str, Record]]:
        nonlocal count
        count += 1
        if not isinstance(module, Record) or depth > MAX_DEPTH or count > MAX_MODULES:
            raise ValueError(f"{name[:100]} is no module, or lies too deep")
        yield name, module
        for child, inner in _mapping(module, "_modules").items():
            yield from walk(f"{name}.{child}" if name else str(child), inner, depth + 1)

    return walk("", network, 0)


def tensors_of(network: Record) -> dict[str, StoredTensor]:
    """Parameters and buffers by dotted name, as in a state dictionary."""
    found: dict[str, StoredTensor] = {}
    for name, module in modules_of(network):
        for kind in ("_parameters", "_buffers"):
            for leaf, tensor in _mapping(module, kind).items():
                if isinstance(tensor, StoredTensor):
                    found[f"{name}.{leaf}" if name else str(leaf)] = tensor
    return found


def _mapping(module: Record, name: str) -> dict[Any, Any]:
    value = module.state.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"a module without {name}")
    return value


def _record_of(meta: Any) -> Record:
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
        raise ValueError("a persistent object that is no class with a state")
    return Record(str(meta.get("class_name"))[:100], meta["state"])


def _set(items: Any) -> set[Any]:
    return {plain_key(item) for item in items}


def _scalar(dtype: Any, data: Any) -> float | int | bool:
    name = dtype.state.get("name") if isinstance(dtype, Record) else None
    if name not in _SCALARS or not isinstance(data, bytes) or len(data) != int(name[1:]):
        raise ValueError("a NumPy number of unknown type")
    value = np.frombuffer(data, dtype=f"<{name}")[0].item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a NumPy number that is not finite")
    return value


def _encoded(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes the bytes of a NumPy number."""
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 64:
        raise ValueError("a text that stands for bytes")
    return text.encode("latin1")
