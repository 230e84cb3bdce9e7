"""A destination is finished or does not exist: everything happens in DEST.partial, which is renamed at the very end."""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile, partial_path
from sarigan.data.lmdb.format import HEADER_KEY, STATE_KEY
from sarigan.data.prepare.inspection import REPORT_NAME, report_text
from sarigan.data.prepare.writer import SetWriter
from sarigan.errors import InputError
from sarigan.files.lock import try_lock
from sarigan.files.paths import kind_of, sync_folder

LISTING_NAME = "listing.sqlite"
_LOCK_NAME = "preparing.lock"
# All that a preparation puts into DEST.partial, an unpacked tar file among it.
_OWN_NAMES = re.compile(r"data\.mdb|lock\.mdb|listing\.sqlite|preparing\.lock|report\.txt|source-\d+-\d+\.(tar|tmp)")


@contextmanager
def destination_lock(partial: Path) -> Iterator[None]:
    """InputError while another process holds it. POSIX record locks end with their process and are not inherited."""
    with open(partial / _LOCK_NAME, "w") as file:
        if not try_lock(file):
            raise InputError(f"{partial}: another process is preparing this set")
        yield


def check_destination(destination: Path, source: Path) -> None:
    """InputError for a destination that exists, that lies in its source, or whose DEST.partial is not a preparation's."""
    partial = partial_path(destination)
    if kind_of(destination) is not None or destination.is_symlink():
        raise InputError(f"{destination}: exists already; delete it or name another destination")
    kind = kind_of(source)
    if kind == "folder" and destination.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{destination}: lies inside the source {source}, which is never written; name another destination")
    if kind is not None and source.resolve().is_relative_to(partial.resolve()):
        raise InputError(f"{source}: lies in {partial}, where {destination} is prepared; name another destination")
    _check_partial(partial)


def _check_partial(partial: Path) -> None:
    """InputError for a DEST.partial with anything but an interrupted preparation in it: it would be overwritten."""
    remedy = "so it is no unfinished preparation; move it away or name another destination"
    if partial.is_symlink():
        raise InputError(f"{partial}: is a link, {remedy}")
    kind = kind_of(partial)
    if kind == "file":
        raise InputError(f"{partial}: is a file, {remedy}")
    for path in sorted(partial.iterdir()) if kind else ():
        if not _OWN_NAMES.fullmatch(path.name) or path.is_symlink() or kind_of(path) != "file":
            raise InputError(f"{partial}: holds {path.name}, {remedy}")
    if kind and _holds_other_records(partial):
        raise InputError(f"{partial}: holds another data.mdb, {remedy}")


def _holds_other_records(partial: Path) -> bool:
    data = partial / "data.mdb"
    if not data.exists() or not data.stat().st_size:  # of no size: killed while it was made
        return False
    records = LmdbFile(partial)
    return len(records) > 0 and records.get(STATE_KEY) is None and records.get(HEADER_KEY) is None


def publish(partial: Path, destination: Path) -> LmdbDataset:
    """Rename a finished set to its own name, and delete the files of the preparation in its folder but for a report."""
    dataset = LmdbDataset(partial)
    (partial / REPORT_NAME).write_text(report_text(dataset.header, dataset.report(), dataset.skipped()))
    for leftover in partial.iterdir():
        if leftover.name not in ("data.mdb", REPORT_NAME) and _OWN_NAMES.fullmatch(leftover.name):
            leftover.unlink()
    del dataset
    os.rename(partial, destination)
    sync_folder(destination.parent)
    return LmdbDataset(destination)


def discard_if_empty(partial: Path) -> None:
    """Delete DEST.partial when not even one image was prepared."""
    with closing(SetWriter(partial)) as writer:
        is_empty = not writer.state.num_images
    if is_empty:
        for name in ("data.mdb", "lock.mdb", LISTING_NAME, _LOCK_NAME):
            (partial / name).unlink(missing_ok=True)
        with suppress(OSError):  # an unpacked tar file stays
            partial.rmdir()
