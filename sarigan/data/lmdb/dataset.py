"""A prepared set as a data set: images by index out of one LMDB, which each process opens when it first reads.

The LMDB is never written to: no lock file, no read-ahead, one map a process, left to the page cache.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index as as_int
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import lmdb
import numpy as np

from sarigan.data.lmdb.format import (
    DIGEST_HEAD,
    HEADER_KEY,
    REPORT_KEY,
    SKIPPED_PREFIX,
    STATE_KEY,
    Header,
    decode,
    header_from_json,
    image_key,
    info_key,
    json_object,
)
from sarigan.errors import InputError
from sarigan.files.paths import kind_of

PREPARE = "scripts/prepare_data.py"


class _Environment:
    """An open environment and the process it belongs to. LMDB wants one per file and process, and none across a fork."""

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self.lmdb = _open(path)

    def __del__(self) -> None:
        if hasattr(self, "lmdb"):
            self.lmdb.close()


_ENVIRONMENTS: WeakValueDictionary[str, _Environment] = WeakValueDictionary()


class LmdbFile:
    """Records of an LMDB (a folder with data.mdb, or the file itself) by key. Opened on first use in each process.

    Pickles to its path. Raises InputError (one line, naming the path) when it cannot be opened, or its pages are damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._environment: _Environment | None = None

    def _open(self) -> lmdb.Environment:
        if self._environment is None or self._environment.pid != os.getpid():
            key = os.path.realpath(self.path)
            shared = _ENVIRONMENTS.get(key)
            if shared is None or shared.pid != os.getpid():
                if shared is not None:
                    shared.lmdb.close()  # this process's copy of its parent's
                shared = _ENVIRONMENTS[key] = _Environment(self.path)
            self._environment = shared
        return self._environment.lmdb

    def __len__(self) -> int:
        return int(self._open().stat()["entries"])

    def get(self, key: bytes) -> bytes | None:
        """A copy of the record, None when there is none."""
        with self._transaction() as transaction:
            record: bytes | None = transaction.get(key)
        return record

    @contextmanager
    def view(self, key: bytes) -> Iterator[memoryview | None]:
        """The record in the map itself, good until the block ends; None when there is none."""
        with self._transaction(buffers=True) as transaction:
            yield transaction.get(key)

    def keys(self) -> Iterator[bytes]:
        """All keys in order, without touching the records."""
        with self._transaction() as transaction, transaction.cursor() as cursor:
            yield from cursor.iternext(keys=True, values=False)

    def items(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys with the prefix, and their records, in order."""
        with self._transaction() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(prefix):
                for key, record in cursor.iternext():
                    if not key.startswith(prefix):
                        return
                    yield key, record

    @contextmanager
    def _transaction(self, buffers: bool = False) -> Iterator[Any]:
        try:
            with self._open().begin(buffers=cast(Any, buffers)) as transaction:
                yield transaction
        except lmdb.Error as error:
            reason = str(error).split(": ", 1)[-1]
            raise InputError(f"{self.path}: damaged ({reason}); copy, download or prepare it again") from None

    def stamp(self) -> str:
        """Changes with every write to the file."""
        info = self._open().info()
        return f"{info['last_txnid']}-{info['last_pgno']}-{len(self)}"

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_environment": None}


def is_lmdb(path: Path) -> bool:
    """Whether the path looks like an LMDB: a folder with data.mdb, or a file with LMDB's magic number."""
    kind = kind_of(path)
    if kind == "folder":
        return kind_of(path / "data.mdb") == "file"
    try:
        with open(path, "rb") as file:
            return file.read(24)[16:20] in (b"\xde\xc0\xef\xbe", b"\xbe\xef\xc0\xde")
    except OSError:
        return False


def _open(path: Path) -> lmdb.Environment:
    is_folder = kind_of(path) == "folder"
    data = path / "data.mdb" if is_folder else path
    if kind_of(data) != "file":
        raise InputError(f"{path}: no such LMDB" + (" (the folder has no data.mdb)" if is_folder else ""))
    try:
        size = data.stat().st_size
        environment = lmdb.open(
            str(path), subdir=is_folder, readonly=True, lock=False, readahead=False, create=False, max_readers=1
        )
    except (lmdb.Error, OSError) as error:
        reason = str(getattr(error, "strerror", None) or error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: not a readable LMDB ({reason})") from None
    # Reading past the end of a file that was cut short would kill the process with SIGBUS.
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < needed:
        environment.close()
        raise InputError(f"{data}: truncated, {size} bytes where {needed} are right; copy or download it again")
    return environment


def partial_path(destination: Path) -> Path:
    """Where a set lives until it is finished; then it is renamed."""
    return destination.with_name(destination.name + ".partial")


class LmdbDataset:
    """Images uint8 [3,R,R] of a set made by scripts/prepare_data.py, with optional labels and attributes.

    resolution is one of those stored; None takes the largest. Safe under fork, spawn and pickling; several data sets
    of one file share its map. Raises InputError (one line, naming the path) and IndexError.
    """

    def __init__(self, path: str | Path, resolution: int | None = None) -> None:
        self.path = Path(path)
        self._file = LmdbFile(self.path)
        self.header = read_header(self._file)
        stored = self.header.recipe.resolutions
        self.resolution = stored[-1] if resolution is None else resolution
        if self.resolution not in stored:
            larger = self.resolution < stored[-1]
            remedy = f"; make a smaller set: {PREPARE} {self.path} NEW --resolution {self.resolution}" if larger else ""
            raise InputError(f"{self.path}: holds {_sizes(stored)}, not {self.resolution}{remedy}")

    def __len__(self) -> int:
        return self.header.num_images

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: uint8 [3,R,R], RGB. InputError when its record differs from the SHA-256 in its info."""
        index, recipe = self._check_index(index), self.header.recipe
        key = image_key(index, self.resolution)
        expected = self.info(index)["sha256"][recipe.resolutions.index(self.resolution)]
        with self._file.view(key) as record:
            if record is None:
                raise self._missing(key)
            try:
                if hashlib.sha256(record).hexdigest()[:DIGEST_HEAD] != expected:
                    raise ValueError("its SHA-256 differs")
                return decode(record, self.resolution, recipe.encoding)
            except (ValueError, OSError) as error:
                raise self._damaged(key, str(error)) from None

    def info(self, index: int) -> dict[str, Any]:
        """`name` in the source, and where the set has them `label` (a number, None: unknown) and `attributes`."""
        key = info_key(self._check_index(index))
        record = self._file.get(key)
        if record is None:
            raise self._missing(key)
        info = json_object(record, f"{self.path}: record {key.decode()}")
        heads = info.get("sha256")
        if not isinstance(heads, list) or len(heads) != len(self.header.recipe.resolutions):
            raise self._damaged(key, "no sha256 of every resolution")
        return info

    def label(self, index: int) -> int | None:
        """Index into `header.label_names`; None when the image, or the whole set, has no label."""
        return self.info(index).get("label")

    def report(self) -> dict[str, Any]:
        """What the preparation noted: source, what was skipped, converted and ignored, versions. Not part of the hash."""
        return json_object(self._file.get(REPORT_KEY) or b"{}", f"{self.path}: {REPORT_KEY.decode()}")

    def skipped(self) -> list[dict[str, str]]:
        """`name`, `kind` (broken, unfit) and `reason` of the pictures that were left out, up to some thousands."""
        return [json_object(record, f"{self.path}: {key.decode()}") for key, record in self._file.items(SKIPPED_PREFIX)]

    def describe(self) -> str:
        recipe, size = self.header.recipe, f"{self.resolution}x{self.resolution}"
        return (
            f"lmdb: {len(self)} images, {size}, {self.path}, crop {recipe.crop}, {recipe.resize_filter},"
            f" {recipe.encoding}, hash {self.header.content_hash[:16]}"
        )

    @property
    def content_key(self) -> str:
        """Changes whenever the pixels would."""
        return f"lmdb-{self.header.content_hash[:16]}-r{self.resolution}"

    def _missing(self, key: bytes) -> InputError:
        return InputError(f"{self.path}: record {key.decode()} is missing; check it with {PREPARE} --verify")

    def _damaged(self, key: bytes, reason: str) -> InputError:
        return InputError(f"{self.path}: record {key.decode()} is damaged ({reason}); prepare the set again")

    def _check_index(self, index: int) -> int:
        index = as_int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: index {index} is out of range for {len(self)} images")
        return index


def read_header(file: LmdbFile) -> Header:
    """The header of a finished set; InputError for a missing, unfinished or foreign one."""
    path = file.path
    if kind_of(path) is None:
        if kind_of(partial_path(path)) is not None:
            raise InputError(f"{path}: its preparation was interrupted; run the same {PREPARE} command again to go on")
        raise InputError(
            f"{path}: no such data set; prepare it with {PREPARE} (the command is at the top of its configuration and in"
            " docs/datasets.md)"
        )
    data = file.get(HEADER_KEY)
    if data is None and file.get(STATE_KEY) is not None:
        raise InputError(f"{path}: an unfinished preparation; run the same {PREPARE} command again to go on")
    if data is None:
        raise InputError(f"{path}: an LMDB, but not a prepared set; make one: {PREPARE} {path} NEW --resolution R")
    return header_from_json(data, str(path))


def _sizes(resolutions: tuple[int, ...]) -> str:
    return " and ".join(f"{r}x{r}" for r in resolutions)
