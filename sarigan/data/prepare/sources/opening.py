"""Which kind of source a path is, told by content."""

import zipfile
from pathlib import Path

from sarigan.data.lmdb.file import LmdbFile, is_lmdb
from sarigan.data.lmdb.format import HEADER_KEY, STATE_KEY
from sarigan.data.prepare.sources.lmdb import LsunSource, PreparedSource
from sarigan.data.prepare.sources.source import FolderSource, Source, ZipSource
from sarigan.data.prepare.sources.tar import TarSource, is_tar
from sarigan.errors import InputError
from sarigan.files.paths import kind_of


def open_source(path: Path, workspace: Path) -> Source:
    """The source at a path; a compressed tar file is unpacked in the workspace. InputError when it is none."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no such file or folder; a source is a folder, zip, tar or LMDB of pictures, or `avatars`")
    if is_lmdb(path):
        file = LmdbFile(path)
        prepared = file.get(HEADER_KEY) is not None or file.get(STATE_KEY) is not None
        return PreparedSource(path) if prepared else LsunSource(path)
    if kind == "folder":
        return FolderSource(path)
    if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
        return ZipSource(path)
    if is_tar(path):
        return TarSource(path, workspace)
    raise InputError(f"{path}: neither a folder nor a zip, tar or LMDB file")
