"""The implementations of the operators, one after the other.

`reference` is the PyTorch form, `cpu` the native one, `emulation` the programs of the CUDA kernels run on the host, thread by
thread, and `cuda` the kernels themselves. What is compiled goes into the user's cache, so that it is compiled once.
"""

import os
import shutil
import sys
from collections.abc import Iterator

import pytest
import torch

from ops import _cache, _extension
from ops._extension import implementation

PATHS = ("reference", "cpu", "emulation", "cuda")


def skip_without_compiler() -> None:
    if sys.platform != "linux":
        pytest.skip("native operators are for Linux")
    if not (os.environ.get("CXX") or any(shutil.which(name) for name in ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler (g++ or clang++) here")


@pytest.fixture(scope="session")
def writable_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the cache of these tests one that can be written."""
    try:
        _cache.root().mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["SARIGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def library(writable_cache: None):
    """library(kind): its operators, built if need be; a build that fails is a failure."""
    from ops import build

    loaded = {}

    def load(kind: str):
        if kind not in loaded:
            skip_without_compiler()
            torch.ops.load_library(build.build(kind))
            loaded[kind] = getattr(torch.ops, f"sarigan_{kind}")
        return loaded[kind]

    return load


@pytest.fixture(scope="module", params=PATHS)
def path(request: pytest.FixtureRequest, library) -> Iterator[torch.device]:
    """The device of the path; while a test runs, the operators take this path there."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
        with implementation("native"):
            yield torch.device("cuda")
        return
    if request.param == "reference":
        with implementation("reference"):
            yield torch.device("cpu")
        return
    with pytest.MonkeyPatch.context() as patch, implementation("native"):
        patch.setitem(_extension._decisions, ("native", "cpu"), library(request.param))
        yield torch.device("cpu")
