"""Batches of training images: the processes that decode them, and the way from configuration to batch.

SIGTERM and Ctrl-C reach the whole process group. A data worker that died of them would fail the step that is to be finished and
saved, so workers ignore both. None of them outlives the training: the kernel kills a worker with its parent, PyTorch ends
it through its queue, and what is left after `GRACE_SECONDS` is killed.
"""

import ctypes
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.batch import Batch, stack
from sarigan.data.image_folder import CROPS, ImageFolderDataset
from sarigan.data.labels import ClassifiedDataset, LabelledDataset, labels_of
from sarigan.data.lmdb.dataset import LmdbDataset, is_lmdb
from sarigan.data.sampler import BalancedSampler, InfiniteSampler, PlacedSample, Sampler, StepBatches
from sarigan.errors import InputError, require_at_most, require_one_of

GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_DEATH = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (.*)")


def start_worker(worker: int) -> None:
    """Runs first in a worker: it ignores SIGINT and SIGTERM, dies with its parent, and uses one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    torch.set_num_threads(1)


class WorkerEnd:
    """The worker processes that start between `__init__` and `started`, to be ended by `close`."""

    def __init__(self) -> None:
        self._before = {process.pid for process in multiprocessing.active_children()}
        self._mine: list[BaseProcess] = []

    def started(self) -> None:
        """Call it when the workers have been started."""
        self._mine = [process for process in multiprocessing.active_children() if process.pid not in self._before]

    def death(self) -> InputError | None:
        """The line for a worker that a signal has killed, whatever the loader raised when a connection to it broke."""
        for process in self._mine:
            process.join(GRACE_SECONDS / len(self._mine))
        killed = [(process.pid, -code) for process in self._mine if (code := process.exitcode or 0) < 0]
        return _death_line(killed[0][0], f"was killed by signal {signal.strsignal(killed[0][1])}") if killed else None

    def close(self) -> None:
        """After the loader's own end: kill whatever is left after the grace, so that no exit waits for it."""
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._mine:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def dead_worker_error(error: RuntimeError) -> InputError | None:
    """The line for a worker that died, None for any other error."""
    found = _DEATH.search(" ".join(str(error).split()))
    if found is None:
        return None
    end = re.search(r"killed by signal: ([^.]+)\.", found[2])
    how = f"was killed by signal {end[1].strip()}" if end else "ended unexpectedly"
    return _death_line(found[1].strip(), how)


def _death_line(process: object, how: str) -> InputError:
    return InputError(
        f"data worker process {process} {how}, perhaps for want of memory: try fewer data.num_workers, or 0 to see"
        " its error; the same command goes on from the last checkpoint"
    )


class ImageDataset(Protocol):
    """What training needs of a set of images."""

    resolution: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [3,R,R], RGB."""

    def describe(self) -> str:
        """One line for a person."""


class KeyedDataset(ImageDataset, Protocol):
    """A set that can be told from others without reading it whole."""

    @property
    def content_key(self) -> str:
        """Differs between sets of different images."""


NUM_AVATARS = 100_000


@dataclass(frozen=True)
class DataConfig:
    """The training images. The resolution is the generator's."""

    name: str = "avatars"  # avatars (built in, procedural) | folder (a folder or a zip file of images) | lmdb (prepared)
    path: str | None = None  # of `folder` and `lmdb`
    crop: str = "none"  # of `folder`: none (images are square and of one size) | center
    num_images: int = NUM_AVATARS  # of `avatars`
    seed: int = 0  # of `avatars`
    # Classes. Of `avatars` an attribute, as hair_color; of `folder` folders, dataset.json or a CSV file; of `lmdb` label or an
    # attribute; null: none
    labels: str | None = None
    balanced: bool = False  # every class as often as any other
    flip: bool = True  # mirror half of the images
    num_workers: int = 2  # processes that decode images; 0: the training process itself

    def __post_init__(self) -> None:
        require_one_of(self, "data.", name=("avatars", "folder", "lmdb"), crop=CROPS)
        wanted = {"folder": "a folder or a zip file of images", "lmdb": "a set made by scripts/prepare_data.py"}
        if self.name in wanted and not self.path:
            raise InputError(f"data.path must be {wanted[self.name]} for data.name={self.name}, got nothing")
        if self.balanced and self.labels is None:
            raise InputError("data.balanced=true needs classes: data.labels must name them, got null")
        if self.num_images < 1:
            raise InputError(f"data.num_images must be at least 1, got {self.num_images}")
        require_at_most("data", self, seed=2**63 - 1, num_images=10**9, num_workers=1024)
        if self.num_workers < 0:
            raise InputError(f"data.num_workers must not be negative, got {self.num_workers}")

    def extras_by_position(self, resolution: int, seed: int) -> Callable[[int], dict[str, np.ndarray]]:
        """What a run draws for each of its positions beside what the data set has: arrays named as the fields of `Batch`."""
        return no_extras

    def open(self, resolution: int) -> ClassifiedDataset:
        """The images without their labels at R pixels."""
        if self.name == "avatars":
            return AvatarDataset(resolution, self.num_images, self.seed)
        assert self.path is not None
        if self.name == "lmdb":
            return LmdbDataset(self.path, resolution)
        if is_lmdb(Path(self.path)):
            raise InputError(f"{self.path}: an LMDB, such as a prepared set; data.name=lmdb reads it, got data.name=folder")
        return ImageFolderDataset(self.path, resolution, self.crop)


def no_extras(position: int) -> dict[str, np.ndarray]:
    """Nothing."""
    return {}


def open_dataset(config: DataConfig, resolution: int) -> KeyedDataset:
    """The data set of a configuration at R pixels, with labels where it names them; InputError when it cannot be read."""
    images = config.open(resolution)
    return images if config.labels is None else LabelledDataset(images, config.labels)


def open_images(source: str | Path, resolution: int | None = None) -> ImageDataset:
    """A set by its path alone: a prepared set, a folder or a zip file of square images, or `avatars`. Nothing is resized.

    resolution: the wanted size; None: that of the images (of a prepared set the largest). InputError names a source that
    holds images of another size, or none.
    """
    if str(source) == "avatars":
        if resolution is None:
            raise InputError("avatars: are drawn in any size; here something else has to tell which")
        return AvatarDataset(resolution, NUM_AVATARS)
    path = Path(source)
    if is_lmdb(path) or path.suffix == ".lmdb":
        return LmdbDataset(path, resolution)
    size = ImageFolderDataset(path, 1).first_size
    if resolution is not None and size != (resolution, resolution):
        raise InputError(
            f"{path}: its images are {size[0]}x{size[1]}, wanted {resolution}x{resolution}; prepare a set of that size:"
            f" scripts/prepare_data.py {path} NEW --resolution {resolution}"
        )
    return ImageFolderDataset(path, size[0])


def read_sample(dataset: ImageDataset, index: int) -> dict[str, np.ndarray]:
    """What a data set has at an index, as arrays named as the fields of `Batch`, `images` uint8 [3,H,W] among them.

    A data set that has more than images has a method `extras(index)` for the rest, or, where it reads all of it at once,
    `arrays(index)` for the whole.
    """
    if hasattr(dataset, "arrays"):
        found: dict[str, np.ndarray] = dataset.arrays(index)
        return found
    return {"images": dataset[index]} | (dataset.extras(index) if hasattr(dataset, "extras") else {})


class _Samples(torch.utils.data.Dataset):
    """Samples (index, mirrored, position) as a `Batch` without its dimension N.

    A data set that cuts its images at random has a method `arrays_at(index, position, seed)`, which returns what `read_sample`
    does.
    """

    def __init__(self, dataset: ImageDataset, drawn: Callable[[int], dict[str, np.ndarray]], seed: int) -> None:
        self.dataset, self.drawn, self.seed = dataset, drawn, seed

    def __getitem__(self, sample: PlacedSample) -> Batch:
        index, mirrored, position = sample
        if hasattr(self.dataset, "arrays_at"):
            arrays = self.dataset.arrays_at(index, position, self.seed)
        else:
            arrays = read_sample(self.dataset, index)
        tensors = {name: _mirrored(np.asarray(array), mirrored) for name, array in arrays.items()}
        return Batch(**tensors | {name: torch.from_numpy(array) for name, array in self.drawn(position).items()})


def _mirrored(array: np.ndarray, mirrored: bool) -> Tensor:
    """Left and right exchanged where asked for; a label has neither."""
    return torch.from_numpy(np.array(array[..., ::-1] if mirrored and array.ndim > 1 else array))


def training_batches(
    dataset: ImageDataset,
    config: DataConfig,
    seed: int,
    position: int,
    batch_size: int,
    rank: int = 0,
    num_ranks: int = 1,
    rounds: int = 1,
    pin_memory: bool = False,
) -> Generator[Batch, None, None]:
    """This rank's batches of B/ranks samples, images uint8, shard after shard, from a global position on, endlessly."""
    sampler: Sampler = InfiniteSampler(len(dataset), seed, config.flip)
    if config.balanced:
        sampler = BalancedSampler(labels_of(dataset), seed, config.flip)
    loader = DataLoader(
        _Samples(dataset, config.extras_by_position(dataset.resolution, seed), seed),
        # Endless, so it has no length.
        batch_sampler=StepBatches(sampler, position, batch_size, rank, num_ranks, rounds),  # type: ignore[arg-type]
        num_workers=config.num_workers, collate_fn=stack, worker_init_fn=start_worker,
        # A server of processes would stand between the workers and signals to the group or the death of this process.
        multiprocessing_context="fork" if config.num_workers and sys.platform == "linux" else None,
        pin_memory=pin_memory,
        # Worker processes draw nothing; a generator of its own keeps the loader away from the global one.
        generator=torch.Generator(),
    )  # fmt: skip
    yield from _loaded(loader)


def _loaded(loader: DataLoader) -> Generator[Any, None, None]:
    """What the loader gives; its workers have ended when this ends. InputError for what a worker raises, and for its death."""
    workers = WorkerEnd()
    found = iter(loader)
    workers.started()
    try:
        yield from found
    except InputError as error:
        raise _worker_error(error) from None
    except RuntimeError as error:
        dead = dead_worker_error(error)  # which may not know the signal, where the process itself does
        raise (dead and workers.death()) or dead or error from None
    except (ConnectionError, EOFError) as error:
        raise workers.death() or error from None
    finally:
        del found  # asks the workers to end
        workers.close()


def _worker_error(error: InputError) -> InputError:
    # PyTorch puts a worker's traceback into the message; the last line is the InputError's own.
    return InputError(str(error).strip().splitlines()[-1].split("InputError: ")[-1])


def load_in_order(items: torch.utils.data.Dataset, num_workers: int) -> Iterator[Tensor]:
    """Every item of a finite data set; worker processes read ahead. PyTorch's global generator is left alone."""
    loader = DataLoader(items, batch_size=None, num_workers=num_workers, generator=torch.Generator(),
                        worker_init_fn=start_worker)  # fmt: skip
    yield from _loaded(loader)
