"""Compile the native operators: `python -m ops.build` (for the CPU, and for the GPUs of this machine or `--arch`).

The compilers are called directly. nvcc reads only the kernels, which include no torch header; the files that do are for the
host compiler. Nothing is linked against a CUDA or OpenMP runtime: the library takes those that torch has already loaded,
so there is one of each in the process, and torch.set_num_threads holds for these operators too.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ops import _cache

USUALLY = {"cpu": "less than a minute", "cuda": "about a minute", "emulation": "less than a minute"}


class BuildError(RuntimeError):
    """Why the operators could not be built, in one line, with the remedy."""


def build(kind: str, arches: Sequence[str] = (), force: bool = False) -> Path:
    """Compile the operators for `cpu` or for `cuda` with these compute capabilities ("9.0") into the user's cache.

    Returns the library, at once if it is there already (unless force). Of several processes one compiles, the others wait.
    Raises BuildError.
    """
    name = _cache.name_of(kind, arches)
    try:
        with _cache.building(name):
            if not force and (found := _cache.find(kind, arches)) is not None:
                return found
            return build_into(_cache.root(), kind, arches)
    except OSError as error:
        raise BuildError(f"cannot write the cache: {error}; set SARIGAN_CACHE to a writable directory") from error


def build_into(place: Path, kind: str, arches: Sequence[str] = ()) -> Path:
    """Compile into a directory of `place`, without a lock. Raises BuildError, and OSError if `place` cannot be written."""
    place.mkdir(parents=True, exist_ok=True)
    name = _cache.name_of(kind, arches)
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=place) as scratch:
        commands, link = _commands(kind, arches, Path(scratch))
        target = f"the GPU ({', '.join('sm_' + arch.replace('.', '') for arch in arches)})" if arches else "the CPU"
        _cache.say(f"compiling the operators for {target}, once, usually {USUALLY[kind]}, into {place / name}")
        started = time.monotonic()
        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
            list(pool.map(_run, commands))
        _run(link)
        seconds = round(time.monotonic() - started, 1)
        library = _cache.publish(
            Path(scratch) / _cache.LIBRARY, {"arches": list(arches), "compiler": commands[0][0]}, place / name
        )
    _cache.say(f"compiled in {seconds} s")
    return library


def _commands(kind: str, arches: Sequence[str], scratch: Path) -> tuple[list[list[str]], list[str]]:
    """The compilations, which may run side by side, and the link."""
    if sys.platform != "linux":
        raise BuildError(f"native operators are for Linux, this is {sys.platform}; the reference serves here")
    host = _host_compiler()
    torch_root = Path(torch.__file__).parent
    torch_flags = [
        f"-std=c++{_torch_standard()}",
        *(f"-I{torch_root / 'include' / part}" for part in ("", "torch/csrc/api/include")),
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-DSARIGAN_LIBRARY=sarigan_{kind}",
        f"-DSARIGAN_KEY={'CUDA' if kind == 'cuda' else 'CPU'}",
    ]
    flags = ["-O1" if kind == "emulation" else "-O2", "-fPIC", "-fvisibility=hidden", "-Wno-psabi"]
    units: list[tuple[str, str, list[str]]] = [("operators.cpp", "operators", [*host, *flags, *torch_flags])]
    libraries = ["-ltorch", "-ltorch_cpu", "-lc10"]
    if kind == "emulation":  # the device programs, looped over on the host: for the tests
        units.append(("operators_emulation.cpp", "launch", [*host, *flags, *torch_flags]))
    elif kind == "cpu":
        units.append(("operators_cpu.cpp", "launch", [*host, *flags, "-fopenmp", *torch_flags]))
        isas: dict[str, list[str]] = {"baseline": []}
        if platform.machine() in ("x86_64", "AMD64"):
            isas["avx2"] = ["-O3", "-mavx2", "-mfma", "-mf16c"]
        for isa, switches in isas.items():
            kernels = [*host, *flags, "-std=c++17", *switches, f"-DSARIGAN_ISA={isa}"]
            units.append(("cpu_kernels.cpp", f"kernels_{isa}", kernels))
    else:
        nvcc = _nvcc()
        wheel = torch_root.parent / "nvidia"
        headers = [f"-idirafter{path}" for path in [*wheel.glob("cu*/include"), wheel / "cuda_runtime" / "include"]]
        generate = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (a.replace(".", "") for a in arches)]
        through = [f"-Xcompiler={flag}" for flag in [*flags[1:], *headers]]
        # nvcc knows where its headers are; for a .cpp file it only calls the host compiler.
        ccbin = [f"-ccbin={host[-1]}"] if os.environ.get("CXX") else []
        units.append(("operators_cuda.cpp", "launch", [nvcc, "-O3", *ccbin, *through, *torch_flags]))
        units.append(("cuda_kernels.cu", "kernels", [nvcc, "-O3", "-std=c++17", *ccbin, *through, *generate]))
        libraries += ["-ltorch_cuda", "-lc10_cuda"]
    commands = [
        [*command, "-c", str(_cache.SOURCES / source), "-o", str(scratch / f"{unit}.o")] for source, unit, command in units
    ]
    objects = [str(scratch / f"{unit}.o") for _, unit, _ in units]
    link = [*host, "-shared", *objects, f"-L{torch_root / 'lib'}", *libraries, "-o", str(scratch / _cache.LIBRARY)]
    return commands, link


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise BuildError(f"cannot run {command[0]}: {error.strerror}; set CXX (or CUDA_HOME) to a compiler") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"\berror\b|\bfatal\b|undefined reference|cannot find", line, re.I)]
        first = (errors or lines or [f"exit code {done.returncode}"])[0]
        raise BuildError(
            f"{Path(command[0]).name} failed: {first}; give torch {torch.__version__} a compiler it supports (CXX, "
            "CUDA_HOME) and run `python -m ops.build`"
        )


def _host_compiler() -> list[str]:
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return [path]
    raise BuildError("no C++ compiler found; install g++ or set CXX, then run `python -m ops.build`")


def _torch_standard() -> str:
    """The C++ standard torch itself was compiled with, which its headers need."""
    found = re.search(r"C\+\+ Version: 20(\d\d)", torch.__config__.show())
    return found.group(1) if found else "17"


def _nvcc() -> str:
    """nvcc of the CUDA major version of this torch."""
    if torch.version.cuda is None:
        raise BuildError(f"torch {torch.__version__} has no CUDA; install a CUDA build of torch")
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    wheels = sorted((Path(torch.__file__).parent.parent / "nvidia").glob("cu*/bin/nvcc"))
    candidates = [*(Path(home) / "bin" / "nvcc" for home in homes if home), shutil.which("nvcc"), *wheels]
    for path in [*candidates, "/usr/local/cuda/bin/nvcc"]:
        if path is None or not Path(path).exists():
            continue
        version = subprocess.run([str(path), "--version"], capture_output=True, text=True).stdout
        release = re.search(r"release (\d+)\.(\d+)", version)
        if release and release.group(1) == torch.version.cuda.split(".")[0]:
            return str(path)
        found = f"{path} is of CUDA {release.group(1)}.{release.group(2)}" if release else f"{path} --version fails"
        raise BuildError(f"{found}, torch needs CUDA {torch.version.cuda}; set CUDA_HOME to a matching toolkit")
    raise BuildError(f"no nvcc found; put that of CUDA {torch.version.cuda} on the PATH or set CUDA_HOME")


def local_arches() -> tuple[str, ...]:
    """The compute capabilities of the GPUs of this machine, each once."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    return tuple(sorted({"{}.{}".format(*torch.cuda.get_device_capability(device)) for device in devices}))


def parse_arches(text: str) -> tuple[str, ...]:
    """Compute capabilities as in `7.5,8.0`, sorted. Raises argparse.ArgumentTypeError."""
    arches = [arch.strip() for arch in re.split("[,; ]", text) if arch.strip()]
    for arch in arches:
        if not re.fullmatch(r"\d+\.\d", arch):
            raise argparse.ArgumentTypeError(f"{arch!r} is no compute capability; write for example 7.5,8.0,9.0")
    return tuple(sorted(set(arches), key=lambda arch: [int(part) for part in arch.split(".")]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile and print where the libraries are; one line on stderr and exit code 1 if that fails."""
    parser = argparse.ArgumentParser(prog="python -m ops.build", description="Compile the native operators.")
    parser.add_argument("--arch", type=parse_arches, help="compute capabilities, as in 7.5,8.0,9.0 (default: of the GPUs here)")
    parser.add_argument("--force", action="store_true", help="compile even if there is a build already")
    options = parser.parse_args(arguments)
    arches = options.arch or local_arches()
    try:
        print(build("cpu", force=options.force))
        if arches:
            print(build("cuda", arches, force=options.force))
    except BuildError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
