"""The entries of a source in the order of their keys, on disk: sorting millions of names takes no memory.

Also what belongs to the whole list: labels and attributes by file name, and a fingerprint that tells whether the source
has changed since.
"""

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from sarigan.data.image_folder import EXTENSIONS, is_image_name
from sarigan.data.prepare.attribute_table import JSON_NAME, AttributeTable
from sarigan.data.prepare.sources.source import Entry, Source
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture
from sarigan.files.reading import reason_of
from sarigan.progress import progress_bar

LEFT_OUT = "left out by --include, --exclude"  # stands beside the extensions that are ignored
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE entries (
    key BLOB PRIMARY KEY, name TEXT, locator BLOB, stamp TEXT, label INTEGER, attributes TEXT
) WITHOUT ROWID;
CREATE TABLE attribute_rows (name TEXT PRIMARY KEY, label INTEGER, attributes TEXT) WITHOUT ROWID;
"""


class Item(NamedTuple):
    """An entry with what the set will say of it."""

    key: bytes
    locator: bytes
    info: dict[str, Any]  # name, and label and attributes if the set has them


class Listing:
    """Scans the source at once, into a file that is made anew. InputError when there is nothing to prepare.

    attributes: a CSV or JSON file | none | None: the one that lies in the source, if any.
    labels: auto (the table's, else the source's own, else class folders) | none.
    include, exclude: patterns of names as a shell has them (* also matches /); pictures that match none of include, or one of
    exclude, are left out.
    """

    def __init__(
        self, source: Source, file: Path, attributes: str | None = None, labels: str = "auto",
        include: Sequence[str] = (), exclude: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.source, self._include, self._exclude = source, include, exclude
        self.label_names, self.attributes = source.label_names, dict(source.attributes)
        self.ignored: Counter[str] = Counter()  # extension -> files that are no pictures
        self.rows_without_image = 0
        self._classes: dict[str, int] = {}
        self._sidecars: list[Entry] = []
        file.unlink(missing_ok=True)
        self._database = sqlite3.connect(file, check_same_thread=False)  # made here, read by the pool's thread
        self._database.executescript(_TABLES)
        self._scan()
        (self.num_entries,) = self._database.execute("SELECT count(*) FROM entries").fetchone()
        if not self.num_entries:
            looked_for = f"; looked for {' '.join(EXTENSIONS)}" if source.holds_files else ""
            left_out = f"; --include and --exclude leave out {self.ignored[LEFT_OUT]}" if self.ignored[LEFT_OUT] else ""
            raise InputError(f"{source.description}: no pictures found{looked_for}{left_out}")
        self._prefix = self._shared_folder() if source.holds_files else ""
        table = None if attributes == "none" else self._find_table(attributes)
        if table is not None:
            self._add_table(table)
        if labels == "none":
            self.label_names = None
        elif self.label_names is None and source.holds_files:
            self._find_classes()
        self.fingerprint = self._fingerprint()

    def close(self) -> None:
        """The file may be deleted afterwards."""
        self._database.close()

    def items(self, after: bytes = b"") -> Iterator[Item]:
        """All entries whose key comes after the given one, in order."""
        # Rows are matched by whole name or, where the table leaves out the folders all pictures share, without them.
        query = """
            SELECT key, entries.name, locator, coalesce(attribute_rows.label, entries.label),
                   coalesce(attribute_rows.attributes, entries.attributes)
            FROM entries LEFT JOIN attribute_rows ON attribute_rows.name = substr(entries.name, ?)
            WHERE key > ? ORDER BY key
        """
        for key, name, locator, label, attributes in self._database.execute(query, (self._name_start, after)):
            info: dict[str, Any] = {"name": name}
            if self.label_names is not None:
                info["label"] = self._classes[self._class_of(name)] if self._classes else label
            if self.attributes:
                info["attributes"] = None if attributes is None else json.loads(attributes)
            yield Item(key, locator, info)

    _name_start = 1  # of the part of a name that attribute rows use; SQL counts from 1

    def _scan(self) -> None:
        def wanted() -> Iterator[Entry]:
            for entry in progress_bar(self.source.scan(), desc="listing", unit="file", unit_scale=True, leave=False):
                if not self.source.holds_files or is_image_name(entry.name):
                    if self._is_chosen(entry.name):
                        yield entry
                    else:
                        self.ignored[LEFT_OUT] += 1
                elif self._is_sidecar(entry.name):
                    self._sidecars.append(entry)
                else:
                    self.ignored[os.path.splitext(entry.name)[1].lower() or "no extension"] += 1

        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", wanted())

    def _is_chosen(self, name: str) -> bool:
        if self._include and not any(fnmatchcase(name, pattern) for pattern in self._include):
            return False
        return not any(fnmatchcase(name, pattern) for pattern in self._exclude)

    def names(self) -> Iterator[tuple[str, bytes]]:
        """Name and locator of all entries, in order."""
        yield from self._database.execute("SELECT name, locator FROM entries ORDER BY key")

    def _is_sidecar(self, name: str) -> bool:
        base = os.path.basename(name)
        return (base == JSON_NAME or base.lower().endswith(".csv")) and is_image_name(name + EXTENSIONS[0])

    def _shared_folder(self) -> str:
        """The folders that all names begin with, a trailing / included. The first and the last name decide."""
        first, last = self._database.execute(
            "SELECT (SELECT name FROM entries ORDER BY key LIMIT 1), (SELECT name FROM entries ORDER BY key DESC LIMIT 1)"
        ).fetchone()
        folders = os.path.commonprefix([first, last])
        return folders[: folders.rfind("/") + 1]

    def _find_table(self, given: str | None) -> AttributeTable | None:
        if given is not None:
            try:
                return AttributeTable(Path(given).read_bytes(), given)
            except OSError as error:
                raise InputError(f"{given}: cannot read the attribute table ({error.strerror})") from None
        # A table lies at the root or beside the pictures' common folder.
        near = [e for e in self._sidecars if self._prefix.startswith(e.name[: e.name.rfind("/") + 1])]
        self.ignored.update(os.path.splitext(e.name)[1] for e in self._sidecars if e not in near)
        if len(near) > 1:
            names = ", ".join(sorted(entry.name for entry in near))
            raise InputError(f"{self.source.description}: more than one attribute table ({names}); name it with --attributes")
        if not near:
            return None
        try:
            return AttributeTable(self.source.read(near[0].locator), near[0].name)
        except (BrokenPicture, OSError) as error:
            raise InputError(f"{self.source.description}: {near[0].name}: cannot be read ({reason_of(error)})") from None

    def _add_table(self, table: AttributeTable) -> None:
        if not table.rows:
            return
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO attribute_rows VALUES (?, ?, ?)",
                (
                    (name, label, None if attributes is None else json.dumps(attributes))
                    for name, label, attributes in table.rows
                ),
            )
        matched = {start: self._num_matches(start) for start in (1, len(self._prefix) + 1)}
        self._name_start = max(matched, key=lambda start: matched[start])
        if not matched[self._name_start]:
            (name,) = self._database.execute("SELECT name FROM entries ORDER BY key LIMIT 1").fetchone()
            raise InputError(
                f"{table.where}: none of its rows names a picture of the source; it says {table.rows[0][0]!r},"
                f" the source has {name!r} (--attributes none ignores it)"
            )
        self.rows_without_image = len(table.rows) - matched[self._name_start]
        self.label_names, self.attributes = table.label_names, table.attributes

    def _num_matches(self, start: int) -> int:
        (count,) = self._database.execute(
            "SELECT count(*) FROM entries JOIN attribute_rows ON attribute_rows.name = substr(entries.name, ?)", (start,)
        ).fetchone()
        return int(count)

    def _class_of(self, name: str) -> str:
        return name[len(self._prefix) :].partition("/")[0]

    def _find_classes(self) -> None:
        """Folders below the shared one are classes, if every picture lies in one and there are two at least."""
        classes = set()
        for (name,) in self._database.execute("SELECT name FROM entries"):
            if "/" not in name[len(self._prefix) :]:
                return
            classes.add(self._class_of(name))
        if len(classes) > 1:
            self.label_names = sorted(classes)
            self._classes = {name: number for number, name in enumerate(self.label_names)}

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.source.stamp().encode())
        for row in self._database.execute("SELECT key, stamp FROM entries ORDER BY key"):
            digest.update(repr(row).encode())
        for row in self._database.execute("SELECT * FROM attribute_rows ORDER BY name"):
            digest.update(repr(row).encode())
        digest.update(repr((self.label_names, self.attributes)).encode())
        return digest.hexdigest()
