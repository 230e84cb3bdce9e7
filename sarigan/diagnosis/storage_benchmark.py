"""How images are stored: encodings side by side (size, speed, exactness; docs/datasets.md), and a set of very many tiny images.

Of the second: memory of preparing it, time to open it, memory of reading it (Linux and macOS).
"""

import io
import json
import random
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe, decode, encode
from sarigan.data.prepare.job import Options, prepare

Codec = tuple[Callable[[Image.Image], bytes], Callable[[bytes], np.ndarray]]
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
    """What this module prints when it is run with these arguments in a process that has imported nothing else."""
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


def compare_encodings(images: list[np.ndarray], repeats: int) -> list[dict[str, Any]]:
    """Size, milliseconds an image to encode and (best repeat) to decode into uint8 [3,R,R], and whether it is exact."""
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
    resolution = images[0].shape[1]
    rows = []
    for name, (encoder, decoder) in _encodings(resolution).items():
        start = time.perf_counter()
        records = [encoder(picture) for picture in pictures]
        encode_seconds = time.perf_counter() - start
        decode_seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            decoded = [decoder(record) for record in records]
            decode_seconds.append(time.perf_counter() - start)
        rows.append(
            {
                "encoding": name,
                "share of raw": round(sum(map(len, records)) / (len(images) * images[0].size), 3),
                "encode ms": round(1000 * encode_seconds / len(images), 2),
                "decode ms": round(1000 * min(decode_seconds) / len(images), 3),
                "exact": all(np.array_equal(a, b) for a, b in zip(decoded, images, strict=True)),
            }
        )
    return rows


def _encodings(resolution: int) -> dict[str, Codec]:
    codecs = {"raw (ours)": _ours("raw", resolution), "webp lossless, effort 0 (ours)": _ours("webp", resolution)}
    codecs |= {f"webp lossless, effort {m}": _pillow("WEBP", lossless=True, quality=0, method=m) for m in (2, 4)}
    codecs |= {f"png, level {level}": _pillow("PNG", compress_level=level) for level in (0, 1, 3, 6, 9)}
    for level in (1, 6):
        codecs[f"raw + zlib {level}"] = _packed(partial(zlib.compress, level=level), zlib.decompress, resolution)
    for name in ("zstandard", "lz4.block"):  # compared where they are installed
        with suppress(ImportError):
            module: Any = import_module(name)
            codecs[f"raw + {name.split('.')[0]}"] = _packed(module.compress, module.decompress, resolution)
    with suppress(ImportError):
        codecs["qoi"] = _qoi(import_module("qoi"))
    codecs["jpeg, quality 95"] = _pillow("JPEG", quality=95, subsampling=0)
    return codecs


def _ours(encoding: str, resolution: int) -> Codec:
    return lambda picture: encode(picture, encoding), lambda record: decode(record, resolution, encoding)


def _packed(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes], resolution: int) -> Codec:
    return lambda picture: pack(encode(picture, "raw")), lambda record: decode(unpack(record), resolution, "raw")


def _qoi(module: Any) -> Codec:
    return lambda picture: module.encode(np.asarray(picture)), lambda record: _planes(module.decode(record))


def _pillow(kind: str, **options: Any) -> Codec:
    def encoder(picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    def decoder(record: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(record), formats=(kind,)) as picture:
            return _planes(np.asarray(picture))

    return encoder, decoder


def _planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


if __name__ == "__main__":
    stage, *rest = sys.argv[1:]
    figures = _read(Path(rest[0])) if stage == "read" else _prepare(Path(rest[0]), Path(rest[1]), int(rest[2]))
    print(json.dumps(figures))
