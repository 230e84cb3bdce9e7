"""Which implementation an operator uses: the compiled one of its device or the PyTorch reference. Decided once, on first use.

SARIGAN_OPS=auto (default) takes a build that is installed or cached; on a CUDA device it makes one if there is none, on the
CPU it does not, so that nothing waits for a compiler. If that fails it says so once and uses the reference from then on.
SARIGAN_OPS=native insists (builds anywhere, raises if it cannot); SARIGAN_OPS=reference never looks.

Code under torch.compile or a tracer always gets the reference form: the compiler fuses its elementwise part with the
operations around it, and double backward, export and new devices stay the compiler's business.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

MODES = ("auto", "native", "reference")

_lock = threading.Lock()
_mode: str | None = None
_decisions: dict[tuple[str, str], Any] = {}  # (mode, device type) -> operators, None for the reference, or an exception
_failures: dict[str, Exception] = {}  # device type -> why there are none, so that nothing is tried twice
_libraries: dict[str, Any] = {}  # device type -> operators: a library is loaded into a process once


def native_for(x: Tensor) -> Any | None:
    """The compiled operators for the device of x, or None for the reference.

    Raises InputError for an unknown SARIGAN_OPS and RuntimeError if it is `native` and there are none.
    """
    if is_captured():
        return None
    mode = _mode or _mode_from_environment()
    if mode == "reference":
        return None
    key = (mode, x.device.type)
    if key not in _decisions:
        with _lock:
            if key not in _decisions:
                _decisions[key] = _decide(*key)
    decision = _decisions[key]
    if isinstance(decision, Exception):
        raise decision
    return decision


def is_captured() -> bool:
    """Whether the operations are being written down as a graph, by the compiler or a tracer."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]


@contextmanager
def implementation(mode: str) -> Iterator[None]:
    """Use `mode` instead of SARIGAN_OPS for a while: tests and benchmarks compare the two."""
    global _mode
    previous, _mode = _mode, _checked(mode)
    try:
        yield
    finally:
        _mode = previous


def _mode_from_environment() -> str:
    global _mode
    _mode = _checked(os.environ.get("SARIGAN_OPS") or "auto")
    return _mode


def _checked(mode: str) -> str:
    if mode not in MODES:
        from sarigan.errors import InputError  # sarigan imports ops

        raise InputError(f"SARIGAN_OPS must be one of {', '.join(MODES)}, got {mode!r}")
    return mode


def _decide(mode: str, kind: str) -> Any:
    if kind not in ("cpu", "cuda") or sys.platform != "linux" or torch.version.hip:
        where = f"device {kind} on {'ROCm' if torch.version.hip else sys.platform}"
        return None if mode == "auto" else RuntimeError(f"SARIGAN_OPS=native: no native operators for {where}")
    from ops._cache import say  # the compiler's side is looked at only when an operator is first used
    from ops.build import BuildError

    try:
        if kind in _failures:
            raise _failures[kind]
        return _load(kind, may_build=mode == "native" or kind == "cuda")
    except BuildError as error:
        _failures[kind] = error
        if mode == "native":
            return RuntimeError(f"SARIGAN_OPS=native: {error}")
        say(f"{error}. Until then the slower PyTorch reference is used (SARIGAN_OPS=reference silences this line)")
        return None


def _load(kind: str, may_build: bool) -> Any | None:
    """The operators from a build that exists, else from a new one if allowed. Raises BuildError."""
    from ops import _cache, build

    if kind in _libraries:
        return _libraries[kind]
    arches = build.local_arches() if kind == "cuda" else ()
    library = _cache.find(kind, arches)
    if library is None and not may_build:
        return None
    try:
        torch.ops.load_library(library or build.build(kind, arches))
    except OSError as error:
        if library is None or not may_build:
            remedy = "`python -m ops.build --force` compiles them anew"
            raise build.BuildError(f"cannot load the operators ({error}); {remedy}") from error
        _cache.say(f"cannot load {library} ({error}); it is compiled anew")
        try:
            torch.ops.load_library(build.build(kind, arches, force=True))
        except OSError as again:
            raise build.BuildError(f"cannot load the operators just compiled ({again})") from again
    _libraries[kind] = getattr(torch.ops, f"sarigan_{kind}")
    return _libraries[kind]
