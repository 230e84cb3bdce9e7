"""Speed of preparing, storing and reading images, each against the plain way in the same run (docs/datasets.md).

The two ways alternate, several times; a ratio compares two neighbouring times.
"""

import argparse
import io
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from PIL import Image

from sarigan.data.image_folder import ImageFolderDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe, encode
from sarigan.data.loader import DataConfig, ImageDataset, training_batches
from sarigan.data.prepare.job import Options, prepare
from sarigan.diagnosis.storage_benchmark import compare_encodings, measure_scale
from sarigan.errors import InputError
from sarigan.files.picture import FORMATS

PARTS = ("encodings", "preparing", "reading", "scale")
_BATCH_SIZE = 32
_WARM_UP_BATCHES = 4

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--source", type=Path, help="a folder or zip file of photographs; not for scale")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--num-images", type=int, default=1000, help="of the source, at most (default 1000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of reading; preparing takes the most")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")


def run(arguments: argparse.Namespace) -> list[Row]:
    """One row for each way. InputError when the source cannot be read."""
    if arguments.part == "scale":
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            return measure_scale(Path(folder), arguments.num_images, max(arguments.workers))
    if arguments.source is None:
        raise InputError(f"{arguments.part}: --source must be a folder or zip file of photographs, got nothing")
    images = ImageFolderDataset(arguments.source, arguments.resolution, crop="center")
    if arguments.part == "encodings":
        chosen = np.linspace(0, len(images) - 1, min(len(images), arguments.num_images)).round().astype(int)
        return compare_encodings([images[int(index)] for index in chosen], arguments.repeats)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        compare = compare_preparing if arguments.part == "preparing" else compare_reading
        return compare(images, Path(folder), arguments)


def compare_preparing(images: ImageFolderDataset, folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """Images a second from the source to a finished set, against two plain loops over Pillow in one process.

    One puts the very same records into an LMDB, without names, hash or flushing in between; the other saves PNG files.
    """
    resolution, workers = arguments.resolution, max(arguments.workers)
    names = images.names[: min(len(images), arguments.num_images)]
    rows = []
    for encoding in ("raw", "webp"):
        recipe = Recipe((resolution,), encoding=encoding)
        options = Options(num_workers=workers, num_images=len(names), labels="none", attributes="none")
        seconds: dict[str, list[float]] = {"ours": [], "records": [], "png": []}
        for repeat in range(arguments.repeats):
            ours, records, png = (folder / f"{name}-{encoding}-{repeat}" for name in seconds)
            seconds["ours"].append(_seconds(prepare, str(arguments.source), ours, recipe, options))
            seconds["records"].append(_seconds(_plain_records, arguments.source, names, resolution, records, encoding))
            seconds["png"].append(_seconds(_plain_png, arguments.source, names, resolution, png))
        rates = {name: round(len(names) / statistics.median(values)) for name, values in seconds.items()}
        rows.append(
            {
                "encoding": encoding,
                "workers": workers,
                "images/s": rates["ours"],
                "same records by a plain loop": rates["records"],
                "ratio": _median_ratio(seconds["records"], seconds["ours"]),
                "PNG files by a plain loop": rates["png"],
                "ratio ": _median_ratio(seconds["png"], seconds["ours"]),
            }
        )
    return rows


def compare_reading(images: ImageFolderDataset, folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """Images a second that a training process gets, out of PNG files and out of prepared sets."""
    count = min(len(images), arguments.num_images)
    png_folder = folder / "png"
    png_folder.mkdir()
    for index in range(count):
        Image.fromarray(images[index].transpose(1, 2, 0)).save(png_folder / f"{index:08d}.png")
    datasets: dict[str, ImageDataset] = {"png": _PlainFolder(png_folder, arguments.resolution)}
    for encoding in ("raw", "webp"):
        path = folder / f"reading-{encoding}"
        prepare(str(png_folder), path, Recipe((arguments.resolution,), encoding=encoding), Options(num_workers=1))
        datasets[encoding] = LmdbDataset(path, arguments.resolution)
    rows = []
    for workers in arguments.workers:
        seconds: dict[str, list[float]] = {name: [] for name in datasets}
        for _ in range(arguments.repeats):
            for name, dataset in datasets.items():
                seconds[name].append(_read_seconds(dataset, workers, count))
        for name in datasets:
            rate = count / statistics.median(seconds[name])
            ratio = _median_ratio(seconds["png"], seconds[name])
            rows.append({"stored as": name, "workers": workers, "images/s": round(rate), "against PNG": ratio})
    return rows


class _PlainFolder:
    """PNG files read with Pillow and nothing else."""

    def __init__(self, folder: Path, resolution: int) -> None:
        self.resolution = resolution
        self._files = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        with Image.open(self._files[index], formats=("PNG",)) as picture:
            return np.asarray(picture).transpose(2, 0, 1)

    def describe(self) -> str:
        return f"{len(self)} PNG files"


def _plain_pictures(source: Path, names: list[str], resolution: int) -> Iterator[Image.Image]:
    """The plain way: open, crop and resize each picture with Pillow."""
    archive = None if source.is_dir() else zipfile.ZipFile(source)
    for name in names:
        file = io.BytesIO(archive.read(name)) if archive else source / name
        picture = Image.open(file, formats=FORMATS).convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
        if side != resolution:
            picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
        yield picture


def _plain_records(source: Path, names: list[str], resolution: int, path: Path, encoding: str) -> None:
    pictures = enumerate(_plain_pictures(source, names, resolution))
    with closing(lmdb.open(str(path), map_size=1 << 40, sync=False)) as database:
        while batch := list(islice(pictures, 500)):
            with database.begin(write=True) as transaction:
                for index, picture in batch:
                    transaction.put(b"%08d" % index, encode(picture, encoding), append=True)
        database.sync(True)


def _plain_png(source: Path, names: list[str], resolution: int, path: Path) -> None:
    path.mkdir()
    for index, picture in enumerate(_plain_pictures(source, names, resolution)):
        picture.save(path / f"{index:08d}.png")


def _read_seconds(dataset: ImageDataset, workers: int, count: int) -> float:
    batches = training_batches(dataset, DataConfig(num_workers=workers), 0, 0, _BATCH_SIZE)
    for _ in islice(batches, _WARM_UP_BATCHES):
        pass
    num_batches = max(1, count // _BATCH_SIZE)
    start = time.perf_counter()
    for _ in islice(batches, num_batches):
        pass
    return (time.perf_counter() - start) * count / (num_batches * _BATCH_SIZE)


def _median_ratio(slow: list[float], fast: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 2)


def _seconds(action: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start
