"""Reading an LMDB without ever writing to it: no lock file, no read-ahead, one map per process, left to the page cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import lmdb

from sarigan.errors import InputError
from sarigan.files.paths import kind_of


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
