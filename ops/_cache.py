"""Where compiled operators live: beside the package when it was installed with them, else in a cache of the user.

One directory for each combination of device, torch version, CUDA version, machine, sources and GPU architectures, holding
`library.so` and `build.json`. It appears by one rename, so a reader sees all of it or nothing, and its digest is checked
before loading, so a damaged file is found by us and not by the dynamic linker. The Python version is no part of the name:
the libraries use no Python header.
"""

import hashlib
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

import torch

PREBUILT = Path(__file__).parent / "prebuilt"
SOURCES = Path(__file__).parent / "csrc"
LIBRARY, MANIFEST = "library.so", "build.json"


def say(line: str) -> None:
    """One line for the person who started the program; of several local processes the first speaks."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"ops: {line}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """$SARIGAN_CACHE, else ~/.cache/sarigan: operators, weights and statistics. Raises OSError without a home directory."""
    try:
        if chosen := os.environ.get("SARIGAN_CACHE"):
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sarigan"
    except RuntimeError as error:
        raise OSError(str(error)) from None


def root() -> Path:
    """Where the operators lie in the cache."""
    return cache_folder() / "ops"


def name_of(kind: str, arches: Sequence[str] = ()) -> str:
    """The directory of a build: kind `cpu` or `cuda`, with the compute capabilities of the latter (`9.0`)."""
    digest = hashlib.sha256()
    for source in sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".cpp", ".cu")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    abi = (torch.__version__, torch.version.cuda, torch.compiled_with_cxx11_abi(), platform.machine(), sys.platform)
    digest.update(repr(abi).encode())
    return "-".join([kind, f"torch{torch.__version__}", digest.hexdigest()[:16], *(f"sm{arch}" for arch in arches)])


def find(kind: str, arches: Sequence[str] = ()) -> Path | None:
    """The library of a build that covers every capability in `arches`, undamaged; None if there is none."""
    prefix = name_of(kind)
    places = []
    with suppress(OSError):
        places.append(root())  # first: it may replace an installed build that cannot be loaded
    places.append(PREBUILT)
    for place in places:
        for directory in sorted(place.glob(prefix + "*")):
            manifest = _manifest(directory)
            if manifest is not None and all(_covers(manifest["arches"], arch) for arch in arches):
                return directory / LIBRARY
    return None


def _manifest(directory: Path) -> dict | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads((directory / MANIFEST).read_text())
        digest = hashlib.sha256((directory / LIBRARY).read_bytes()).hexdigest()
        if digest == manifest["sha256"] and isinstance(manifest["arches"], list):
            return manifest
    _report_damage(directory)
    return None


@cache
def _report_damage(directory: Path) -> None:
    say(f"{directory} is damaged and is ignored; `python -m ops.build` writes it anew")


def _covers(built: Sequence[str], wanted: str) -> bool:
    """Machine code runs on its own capability and on later minor ones of the same major version."""
    major, minor = wanted.split(".")
    return any(arch.split(".")[0] == major and int(arch.split(".")[1]) <= int(minor) for arch in built)


def publish(compiled: Path, manifest: dict, destination: Path) -> Path:
    """Put the freshly compiled library into the directory `destination`, replacing what is there."""
    digest = hashlib.sha256(compiled.read_bytes()).hexdigest()
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    staging.chmod(0o755)
    shutil.copyfile(compiled, staging / LIBRARY)
    (staging / MANIFEST).write_text(json.dumps({**manifest, "sha256": digest}, indent=1))
    if destination.exists():
        shutil.rmtree(destination, ignore_errors=True)
    try:
        staging.rename(destination)
    except OSError:
        # Someone else published the same build between the two lines above: theirs is as good.
        shutil.rmtree(staging, ignore_errors=True)
        if _manifest(destination) is None:
            raise
    return destination / LIBRARY


@contextmanager
def building(name: str) -> Iterator[None]:
    """Hold the right to build `name` in the cache. The kernel gives it up for a process that dies, so it cannot go stale.

    Raises OSError if the cache cannot be written.
    """
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / f".{name}.lock", "a+") as lock:
        _acquire(lock)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def _acquire(lock: TextIO) -> None:
    import fcntl  # not on every platform; native operators are for Linux

    next_line = time.monotonic() + 2.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                return  # a file system without locks: two builds may run, and publish() copes with both
        if time.monotonic() >= next_line:
            lock.seek(0)
            say(f"waiting for {lock.read() or 'another process'} to finish compiling ({lock.name})")
            next_line += 60.0
        time.sleep(0.1)
