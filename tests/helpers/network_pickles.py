"""Pickles as NVIDIA's code writes them: modules with source text that raises when it is run, tensors with nested files."""

import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SOURCE_TEXT = "raise RuntimeError('the source text embedded in a pickle was executed')\n"


class Persistent:
    """Reduces to torch_utils.persistence._reconstruct_persistent_obj(meta)."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": SOURCE_TEXT, "class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def modules_of_nvidia() -> Iterator[Any]:
    """Stand-ins for the modules that such a pickle names, while it is written."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("only its name is wanted")

    class EasyDict(dict):
        pass

    for module, item in ((persistence, _reconstruct_persistent_obj), (util, EasyDict)):
        item.__module__, item.__qualname__ = module.__name__, item.__name__
        setattr(module, item.__name__, item)
    added = {"torch_utils.persistence": persistence, "dnnlib.util": util}
    added |= {name: types.ModuleType(name) for name in ("torch_utils", "dnnlib")}
    sys.modules.update(added)
    try:
        yield EasyDict
    finally:
        for name in added:
            del sys.modules[name]


def network(state: dict[str, Tensor], settings: dict[str, dict[str, Any]], root: str) -> Persistent:
    """A network with the tensors of a state dictionary; `settings` are attributes of modules by their dotted name."""
    parameters = {name: value for name, value in state.items() if "." not in name}
    children: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if "." in name:
            head, rest = name.split(".", 1)
            children.setdefault(head, {})[rest] = value
    inner = {
        head: network(part, {k[len(head) + 1 :]: v for k, v in settings.items() if k.startswith(f"{head}.")}
                      | ({"": settings[head]} if head in settings else {}), "Module")
        for head, part in children.items()
    }  # fmt: skip
    buffers = {name: value for name, value in parameters.items() if name in ("w_avg", "noise_const", "resample_filter")}
    own = settings.get("", {})
    return Persistent(own.get("class", root), {
        "training": False, "_parameters": {k: torch.nn.Parameter(v) for k, v in parameters.items() if k not in buffers},
        "_buffers": buffers, "_non_persistent_buffers_set": set(), "_forward_hooks": OrderedDict(), "_modules": inner,
        **{name: value for name, value in own.items() if name != "class"},
    })  # fmt: skip


def network_pickle(content: dict[str, Any], protocol: int = 4) -> bytes:
    """The bytes of a file; plain dictionaries under `training_set_kwargs` become EasyDict."""
    file = io.BytesIO()
    with modules_of_nvidia() as easy_dict:
        kwargs = easy_dict(class_name="training.dataset.ImageFolderDataset", resolution=8)
        pickle.dump({**content, "augment_pipe": None, "training_set_kwargs": kwargs}, file, protocol=protocol)
    return file.getvalue()
