"""LSUN as its authors export it (Yu et al. 2015, github.com/fyu/lsun): an LMDB whose values are JPEG or WebP files.

Any LMDB of picture files will do, whatever its keys look like. It is opened read-only and without a lock file.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sarigan.data.lmdb.file import LmdbFile
from sarigan.data.prepare.sources.source import Entry, FileSource
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture

_SIGNATURES = (b"\xff\xd8\xff", b"RIFF", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_LOOKED_AT = 16  # values; one broken picture must not condemn the file


class LsunSource(FileSource):
    """Keys are the LMDB's own. Raises InputError when none of its first values is a picture file."""

    holds_files = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = f"LMDB {path}"
        self._lmdb = LmdbFile(path)
        heads = [bytes(value[:8]) for _, value in islice(self._lmdb.items(), _LOOKED_AT)]
        if heads and not any(head.startswith(_SIGNATURES) for head in heads):
            raise InputError(
                f"{path}: an LMDB of another format, its values are no picture files (the first begins with {heads[0]!r});"
                " LSUN's export holds JPEG or WebP files"
            )

    def scan(self) -> Iterator[Entry]:
        for key in self._lmdb.keys():  # noqa: SIM118 - not a dictionary
            yield Entry(key, key.decode("utf-8", "backslashreplace"), key)

    def read(self, locator: bytes) -> bytes:
        data = self._lmdb.get(locator)
        if data is None:
            raise BrokenPicture("its key is missing in the LMDB")
        return data

    def stamp(self) -> str:
        return self._lmdb.stamp()
