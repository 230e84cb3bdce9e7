"""Ways to store an image side by side: size, speed and exactness (docs/datasets.md)."""

import io
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from sarigan.data.lmdb.format import decode, encode

Codec = tuple[Callable[[Image.Image], bytes], Callable[[bytes], np.ndarray]]


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
