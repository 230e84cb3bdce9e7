"""Writing a set: records and the state after them in one transaction, so that a kill loses the last transaction at most."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from sarigan.data.lmdb.format import (
    DIGEST_HEAD,
    EMPTY_CHAIN,
    HEADER_KEY,
    REPORT_KEY,
    SKIPPED_PREFIX,
    STATE_KEY,
    Header,
    extend_chain,
    image_key,
    info_key,
    json_object,
    layout_key,
    to_json,
)
from sarigan.data.prepare.listing import Item
from sarigan.data.prepare.worker_pool import Prepared, Result
from sarigan.errors import InputError
from sarigan.files.reading import reading

_COMMIT_SECONDS = 10.0
_FIRST_MAP_BYTES = 1 << 30
_LARGEST_ENTRY_BYTES = 400 << 20  # all resolutions up to 8192
MAX_LISTED = 10_000  # left-out pictures that the set remembers by name


@dataclass
class State:
    """How far a preparation has come."""

    key: str = ""  # of the last entry, hexadecimal
    num_entries: int = 0
    num_images: int = 0
    chain: str = EMPTY_CHAIN.hex()
    skipped: dict[str, int] = field(default_factory=dict)  # broken, unfit -> count
    converted: dict[str, int] = field(default_factory=dict)  # grey, palette, ... -> count


class SetWriter:
    """Appends entries in order to the LMDB of an unfinished set. `task` is what must not change until it is finished."""

    def __init__(self, folder: Path, commit_megabytes: float = 16.0) -> None:
        self.folder = folder
        self._commit_bytes = commit_megabytes * 2**20
        self._transaction: lmdb.Transaction | None = None
        self._pending_bytes, self._last_commit = 0, time.monotonic()
        self.state = State()
        with self._named_errors():
            self._lmdb = lmdb.open(str(folder), map_size=_FIRST_MAP_BYTES, max_readers=8)
            with self._lmdb.begin() as transaction:
                stored = json_object(transaction.get(STATE_KEY, b"{}"), f"{folder}: {STATE_KEY.decode()}")
                self.is_finished = transaction.get(HEADER_KEY) is not None
        self.task: dict[str, Any] | None = stored.get("task")  # None: nothing is written yet
        with reading(folder, "unfinished preparation", hint="delete it to start over"):
            self.state = State(**stored.get("state", {}))
            bytes.fromhex(self.state.key + self.state.chain)
            if type(self.state.num_images) is not int or type(self.state.num_entries) is not int:
                raise ValueError("numbers of images or entries")
            if not isinstance(self.task, dict | None):
                raise ValueError("no task")

    def start(self, task: dict[str, Any]) -> None:
        """Begin a new set: store the task and the source."""
        self.task, self.state = task, State()
        with self._begin().cursor() as cursor:
            while cursor.set_range(SKIPPED_PREFIX) and bytes(cursor.key()).startswith(SKIPPED_PREFIX):
                cursor.delete()
        self.commit()

    def append(self, item: Item, result: Result) -> None:
        """The records of the next entry."""
        with self._named_errors():
            transaction, state = self._begin(), self.state
            if isinstance(result, Prepared):
                self._append_records(transaction, item, result)
                state.num_images += 1
                for note in result.notes:
                    state.converted[note] = state.converted.get(note, 0) + 1
            else:
                state.skipped[result.kind] = state.skipped.get(result.kind, 0) + 1
                if sum(state.skipped.values()) <= MAX_LISTED:
                    entry = {"name": item.info["name"], "kind": result.kind, "reason": result.reason}
                    transaction.put(SKIPPED_PREFIX + b"%012d" % state.num_entries, to_json(entry))
            state.num_entries += 1
            state.key = item.key.hex()

    def _append_records(self, transaction: lmdb.Transaction, item: Item, prepared: Prepared) -> None:
        index, chain = self.state.num_images, bytes.fromhex(self.state.chain)
        heads = [digest.hex()[:DIGEST_HEAD] for digest in prepared.digests.values()]
        of_layouts = {resolution: hashlib.sha256(record).digest() for resolution, record in prepared.layouts.items()}
        beside = {"layout_sha256": [digest.hex()[:DIGEST_HEAD] for digest in of_layouts.values()]} if of_layouts else {}
        info = to_json({**item.info, "sha256": heads, **beside})
        records: list[tuple[bytes, bytes, bytes]] = []
        for resolution, record in prepared.records.items():
            records.append((image_key(index, resolution), record, prepared.digests[resolution]))
            if resolution in prepared.layouts:
                records.append((layout_key(index, resolution), prepared.layouts[resolution], of_layouts[resolution]))
        records.append((info_key(index), info, hashlib.sha256(info).digest()))
        for key, record, digest in records:
            if not transaction.put(key, record, append=True):
                raise InputError(f"{self.folder}: no place after the last record for {key.decode()}; delete it to start over")
            chain = extend_chain(chain, key, digest)
            self._pending_bytes += len(record)
        self.state.chain = chain.hex()

    def commit_if_due(self) -> None:
        """Commit, between two entries, when enough bytes have gathered."""
        if self._pending_bytes >= self._commit_bytes or time.monotonic() - self._last_commit >= _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make everything up to the last entry survive a kill or a power failure."""
        if self._transaction is not None:
            with self._named_errors():
                self._transaction.put(STATE_KEY, to_json({"task": self.task, "state": dataclasses.asdict(self.state)}))
                transaction, self._transaction = self._transaction, None
                transaction.commit()
        self._pending_bytes, self._last_commit = 0, time.monotonic()

    def finish(self, header: Header, report: dict[str, Any]) -> Header:
        """Replace the state by the header, with its hash, and return the header."""
        header = header.with_hash(bytes.fromhex(self.state.chain))
        with self._named_errors():
            transaction = self._begin()
            transaction.put(HEADER_KEY, to_json(header.to_dict()))
            transaction.put(REPORT_KEY, to_json(report))
            transaction.delete(STATE_KEY)
            self._transaction = None
            transaction.commit()
        return header

    def first_skipped(self) -> dict[str, str] | None:
        """Name, kind and reason of the first picture that was left out."""
        with self._lmdb.begin() as transaction, transaction.cursor() as cursor:
            found = cursor.set_range(SKIPPED_PREFIX) and cursor.key().startswith(SKIPPED_PREFIX)
            return json.loads(cursor.value()) if found else None

    def close(self) -> None:
        """Drop what is not committed."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None
        self._lmdb.close()

    def _begin(self) -> lmdb.Transaction:
        if self._transaction is None:
            # Room for this transaction with its half-filled pages; on most systems the map costs nothing until used.
            info, page = self._lmdb.info(), self._lmdb.stat()["psize"]
            used = (info["last_pgno"] + 1) * page
            room = _LARGEST_ENTRY_BYTES + 2 * int(self._commit_bytes)
            if used + room > info["map_size"]:
                self._lmdb.set_mapsize(max(2 * info["map_size"], used + 2 * room))
            self._transaction = self._lmdb.begin(write=True)
        return self._transaction

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (lmdb.Error, OSError) as error:
            self._transaction = None  # LMDB has aborted it
            reason = str(getattr(error, "strerror", None) or error).split(": ")[-1]
            raise InputError(
                f"{self.folder}: cannot write after {self.state.num_images} images ({reason});"
                " make room, then run the same command again"
            ) from None
