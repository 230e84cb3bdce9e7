"""From the configuration to batches: what is loaded, in which order, mirrored how, by how many processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import DEADLINE

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.batch import to_signed_float
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.data.loader import DataConfig, _loaded, load_in_order, open_dataset, training_batches
from sarigan.data.sampler import InfiniteSampler
from sarigan.errors import InputError


class Numbered:
    """Image i holds i in its left half and 255 - i in its right half."""

    resolution = 4

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> np.ndarray:
        image = np.full((3, 4, 4), index, dtype=np.uint8)
        image[:, :, 2:] = 255 - index
        return image

    def describe(self) -> str:
        return "numbered"


def collect(steps: int, **arguments: Any) -> list[torch.Tensor]:
    """The images of the first batches."""
    config = DataConfig(num_workers=arguments.pop("num_workers", 0), flip=arguments.pop("flip", True))
    return [batch.images for batch in islice(training_batches(Numbered(), config, seed=5, **arguments), steps)]


@pytest.mark.parametrize("flip", [False, True])
def test_batches_hold_what_the_sampler_says(flip: bool) -> None:
    sampler = InfiniteSampler(11, 5, flip)
    for step, batch in enumerate(collect(4, flip=flip, position=6, batch_size=4)):
        assert batch.dtype == torch.uint8 and batch.shape == (4, 3, 4, 4)
        for row in range(4):
            index, mirrored = sampler[6 + 4 * step + row]
            left, right = int(batch[row, 0, 0, 0]), int(batch[row, 0, 0, 3])
            assert (left, right) == ((255 - index, index) if mirrored else (index, 255 - index))


def test_worker_processes_change_nothing_not_even_the_global_generator() -> None:
    plain = collect(3, position=0, batch_size=4)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    worked = collect(3, position=0, batch_size=4, num_workers=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(plain, worked, strict=True))


def test_control_c_leaves_the_workers_at_work() -> None:
    """It reaches the whole process group; only the training process may decide to stop."""
    before = set(multiprocessing.active_children())
    batches = training_batches(Numbered(), DataConfig(num_workers=2), seed=5, position=0, batch_size=4)
    for _ in range(2):  # one from each worker: both have started
        next(batches)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
    for _ in range(12):  # more than were prefetched
        assert next(batches).images.shape == (4, 3, 4, 4)
    assert all(worker.is_alive() for worker in workers)
    batches.close()
    for worker in workers:
        worker.join(timeout=DEADLINE)
    assert not any(worker.is_alive() for worker in workers)


def test_ranks_and_rounds_deal_out_the_batch() -> None:
    (whole,) = collect(1, position=8, batch_size=8)
    for rank in range(2):
        (batch,) = collect(1, position=8, batch_size=8, rank=rank, num_ranks=2, rounds=2)
        assert torch.equal(batch, torch.cat([whole[2 * rank :: 4], whole[2 * rank + 1 :: 4]]))


def test_unit_range() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = to_signed_float(every, torch.float64, torch.channels_last)
    assert images.dtype == torch.float64
    torch.testing.assert_close(images.flatten(), torch.arange(256, dtype=torch.float64) / 127.5 - 1)
    assert images.min() == -1 and images.max() == 1


def test_open_dataset(png_folder: Path) -> None:
    assert isinstance(open_dataset(DataConfig(num_images=7), 32), AvatarDataset)
    folder = open_dataset(DataConfig(name="folder", path=str(png_folder)), 8)
    assert isinstance(folder, ImageFolderDataset) and len(folder) == 24 and folder[3].shape == (3, 8, 8)
    with pytest.raises(InputError, match="no such file or folder"):
        open_dataset(DataConfig(name="folder", path=str(png_folder / "none")), 8)
    with pytest.raises(InputError, match="resolution must be one of 32"):
        open_dataset(DataConfig(), 8)


def test_an_image_of_another_size_is_named_from_a_worker_too(tmp_path: Path) -> None:
    for index in range(4):
        size = 16 if index == 0 else 12
        Image.fromarray(np.zeros((size, size, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    dataset = open_dataset(DataConfig(name="folder", path=str(tmp_path)), 8)
    for workers in (0, 1):
        config = DataConfig(name="folder", path=str(tmp_path), num_workers=workers)
        with pytest.raises(InputError, match=r"\.png: is 12x12, the first image is 16x16") as caught:
            next(training_batches(dataset, config, 0, 0, 4))
        assert "\n" not in str(caught.value)


class Broken(torch.utils.data.Dataset):
    """Its second item cannot be read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 1:
            raise InputError("b.png: not a readable image")
        return torch.zeros(1)


def test_no_worker_outlives_an_error() -> None:
    """Workers ignore SIGTERM, by which Python ends those that are left at its exit: it would wait for ever."""
    before = set(multiprocessing.active_children())
    with pytest.raises(InputError, match="^b.png: not a readable image$"):
        list(load_in_order(Broken(), 2))
    left = set(multiprocessing.active_children()) - before
    for process in left:
        process.kill()
    assert not left


def test_a_death_that_pytorch_cannot_explain_is_explained() -> None:
    """PyTorch says `exited unexpectedly` when it finds a worker gone before it is told of its signal."""

    class Loader:
        def __iter__(self) -> Iterator[None]:
            worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            worker.start()

            def items() -> Iterator[None]:
                worker.kill()
                worker.join()
                raise RuntimeError(f"DataLoader worker (pid(s) {worker.pid}) exited unexpectedly")
                yield

            return items()

    with pytest.raises(InputError, match=r"^data worker process \d+ was killed by signal Killed"):
        next(_loaded(Loader()))  # type: ignore[arg-type]
