"""What a machine has to train with: one finding after the other, each with a verdict and, where it is needed, a remedy."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """`verdict`: ok, note (works, but could be better) or bad (will not work)."""

    verdict: str
    subject: str
    text: str


def software() -> Iterator[Finding]:
    """Python, PyTorch, CUDA and NCCL versions."""
    yield Finding("ok", "software", f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform()}")
    if torch.version.cuda is None:
        yield Finding("ok", "software", "torch is built without CUDA: training on CPUs")
        return
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else "none in use"
    yield Finding("ok", "software", f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl}")


def devices() -> Iterator[Finding]:
    """Every GPU against what this torch is compiled for."""
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()
        yield Finding("note", "devices", f"no GPU; CPU {torch.backends.cpu.get_cpu_capability()} with {threads} threads")
        return
    arches = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        name = f"cuda:{index} {properties.name}, {properties.total_memory / GIB:.0f} GiB"
        yield architecture_finding(name, (properties.major, properties.minor), arches)


def architecture_finding(name: str, capability: tuple[int, int], arches: Sequence[str]) -> Finding:
    """Whether a device of compute capability (major, minor) runs code compiled for `arches` (sm_80, compute_90, ...)."""
    major, minor = capability

    def numbers(prefix: str) -> list[tuple[int, int]]:
        found = [arch.removeprefix(prefix).rstrip("af") for arch in arches if arch.startswith(prefix)]
        return [(int(n[:-1]), int(n[-1])) for n in found if n.isdigit()]

    # Machine code runs on the same major version from its minor on; PTX is compiled for anything newer.
    runs = any(a == major and b <= minor for a, b in numbers("sm_")) or any(p <= capability for p in numbers("compute_"))
    text = f"{name}, compute capability {major}.{minor}"
    if runs:
        return Finding("ok", "devices", f"{text}: in this torch ({' '.join(arches)})")
    remedy = "a newer torch"
    if capability < (7, 5):
        index = "https://download.pytorch.org/whl/cu126"
        remedy = f"the wheels of the CUDA 12.6 line: pip install --force-reinstall torch torchvision --index-url {index}"
    return Finding("bad", "devices", f"{text}: not in this torch, which has {' '.join(arches)}; install {remedy}")


def operators() -> Iterator[Finding]:
    """The path of the native operators on every kind of device, and why."""
    from ops._extension import native_for

    mode = os.environ.get("SARIGAN_OPS") or "auto"
    for kind in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        native = native_for(torch.zeros(1, 1, device=kind))
        if native is not None:
            yield Finding("ok", "operators", f"native on {kind} (SARIGAN_OPS={mode})")
            continue
        why = "SARIGAN_OPS=reference" if mode == "reference" else "no build here; `python -m ops.build` makes one"
        yield Finding("note", "operators", f"PyTorch reference on {kind}: {why}")


def compilers() -> Iterator[Finding]:
    """What native operators are built with."""
    for names, need in ((("c++", "g++", "clang++"), "the CPU's"), (("nvcc",), "CUDA's")):
        found = next((path for path in map(shutil.which, names) if path), None)
        if found is None and "nvcc" in names and not torch.cuda.is_available():
            continue
        text = found or f"no {' or '.join(names)}: {need} native operators cannot be built"
        yield Finding("ok" if found else "note", "compiler", text)


def memory() -> Iterator[Finding]:
    """Host memory and what data workers share."""
    if sys.platform != "linux":
        return
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line)
    total, free = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    yield Finding("ok" if free > 4 * GIB else "note", "memory", f"{free / GIB:.1f} of {total / GIB:.1f} GiB available")
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free
        hint = "" if room > GIB else ", little for data workers: data.num_workers=0, or docker run --shm-size=8g"
        yield Finding("note" if hint else "ok", "memory", f"/dev/shm: {room / GIB:.1f} GiB{hint}")
