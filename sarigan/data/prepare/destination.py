"""A destination is finished or does not exist: everything happens in DEST.partial, which is renamed at the very end."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sarigan.data.lmdb_dataset import LmdbDataset
from sarigan.data.prepare.inspection import REPORT_NAME, report_text
from sarigan.data.prepare.writer import SetWriter
from sarigan.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LISTING_NAME = "listing.sqlite"
_LOCK_NAME = "preparing.lock"


@contextmanager
def destination_lock(partial: Path) -> Iterator[None]:
    """InputError while another process holds it. POSIX record locks end with their process and are not inherited."""
    with open(partial / _LOCK_NAME, "w") as file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{partial}: another process is preparing this set") from None
        yield


def check_destination(destination: Path, source: Path) -> None:
    """InputError for a destination that exists or that would be written into its source."""
    if destination.exists():
        raise InputError(f"{destination}: exists already; delete it or name another destination")
    if source.is_dir() and destination.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{destination}: lies inside the source {source}, which is never written; name another destination")


def publish(partial: Path, destination: Path) -> LmdbDataset:
    """Give a set whose header is written its name, and leave nothing beside it but a report."""
    dataset = LmdbDataset(partial)
    (partial / REPORT_NAME).write_text(report_text(dataset.header, dataset.report(), dataset.skipped()))
    for leftover in partial.iterdir():
        if leftover.name not in ("data.mdb", REPORT_NAME):
            leftover.unlink()
    del dataset
    os.rename(partial, destination)
    _sync_folder(destination.parent)
    return LmdbDataset(destination)


def discard_if_empty(partial: Path) -> None:
    """Leave nothing behind when not even one image was prepared."""
    with closing(SetWriter(partial)) as writer:
        is_empty = not writer.state.num_images
    if is_empty:
        for name in ("data.mdb", "lock.mdb", LISTING_NAME, _LOCK_NAME):
            (partial / name).unlink(missing_ok=True)
        with suppress(OSError):  # an unpacked tar file stays
            partial.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
