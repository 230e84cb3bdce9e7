"""A set of very many tiny images: memory of preparing it, time to open it, memory of reading it (Linux and macOS)."""

import io
import json
import random
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.job import Options, prepare

_RESOLUTION = 8
_NUM_READ = 10_000
_UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in a megabyte


def measure_scale(folder: Path, num_images: int, num_workers: int) -> list[dict[str, Any]]:
    """Prepares an LMDB of `num_images` PNG files of 8 x 8 pixels; each stage in a process of its own."""
    source, target = folder / "tiny", folder / "prepared"
    _write_source(source, num_images)
    preparing = _in_new_process("prepare", source, target, num_workers)
    reading = _in_new_process("read", target)
    return [
        {"stage": "prepare", "images": num_images, "seconds": preparing[0], "peak MB": preparing[1], "worker MB": preparing[2]},
        {"stage": "open", "images": num_images, "seconds": reading[0], "peak MB": reading[2], "worker MB": 0},
        {"stage": f"read {_NUM_READ}", "images": num_images, "seconds": reading[1], "peak MB": reading[3], "worker MB": 0},
    ]


def _write_source(path: Path, num_images: int) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((_RESOLUTION, _RESOLUTION), 64).convert("RGB").save(buffer, "PNG")
    with lmdb.open(str(path), map_size=1 << 36, sync=False) as database:
        for start in range(0, num_images, 100_000):
            with database.begin(write=True) as transaction:
                for index in range(start, min(start + 100_000, num_images)):
                    transaction.put(b"%040x" % index, buffer.getvalue(), append=True)


def _in_new_process(*arguments: object) -> list[Any]:
    """What this module prints when it is run with these arguments: without what the caller has imported."""
    done = subprocess.run([sys.executable, "-m", __name__, *map(str, arguments)], stdout=subprocess.PIPE, check=True)
    result: list[Any] = json.loads(done.stdout)
    return result


def _prepare(source: Path, target: Path, num_workers: int) -> tuple[float, int, int]:
    start = time.perf_counter()
    prepare(str(source), target, Recipe((_RESOLUTION,)), Options(num_workers=num_workers))
    seconds = round(time.perf_counter() - start, 1)
    return seconds, _peak_megabytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // _UNIT


def _read(path: Path) -> tuple[float, float, int, int]:
    start = time.perf_counter()
    dataset = LmdbDataset(path)
    dataset[len(dataset) - 1]
    open_seconds, open_peak = time.perf_counter() - start, _peak_megabytes()
    indices = random.Random(0).sample(range(len(dataset)), min(_NUM_READ, len(dataset)))
    start = time.perf_counter()
    for index in indices:
        dataset[index]
    read_seconds = time.perf_counter() - start
    return round(open_seconds, 4), round(read_seconds, 2), open_peak, _peak_megabytes()


def _peak_megabytes() -> int:
    """Peak resident memory of this process, pages of the map included."""
    with suppress(OSError):  # Linux; getrusage would count the parent's memory at the fork
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _UNIT


if __name__ == "__main__":
    stage, *rest = sys.argv[1:]
    figures = _read(Path(rest[0])) if stage == "read" else _prepare(Path(rest[0]), Path(rest[1]), int(rest[2]))
    print(json.dumps(figures))
