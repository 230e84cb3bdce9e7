"""Label maps among the pictures of a source: numbers of classes that resizing would mix into classes that nobody drew.

A file is taken for a label map when it has one channel or a palette, few values, and neighbours that are mostly equal. A
folder is taken for one of label maps when all files of a kind that are looked at in it are.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sarigan.data.prepare.sources.source import Source
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, opened_picture

MAX_VALUES = 64  # classes in one picture; grey photographs have more
MIN_EQUAL = 0.9  # share of neighbours in a row that are equal
MODES = ("1", "L", "P", "I", "I;16")
LOOKED_AT = 4  # files of a folder and kind
MAX_FOLDERS = 64


@dataclass
class FileGroup:
    """Files of one folder and extension."""

    folder: str
    extension: str
    locators: list[bytes] = field(default_factory=list)
    stems: set[str] = field(default_factory=set)

    @property
    def pattern(self) -> str:
        """Names them for --exclude."""
        return f"{self.folder}/*{self.extension}" if self.folder else f"*{self.extension}"


def is_label_map(data: bytes) -> bool:
    """Whether the bytes of a picture file are a label map's; False for one that cannot be read, too."""
    try:
        with opened_picture(data) as image:
            if image.mode not in MODES or image.format == "JPEG":
                return False
            values = np.asarray(image)
    except BrokenPicture:
        return False
    equal = float((values[:, 1:] == values[:, :-1]).mean()) if values.shape[1] > 1 else 0.0
    return equal > MIN_EQUAL and 1 < len(np.unique(values)) <= MAX_VALUES


def refuse_label_maps(source: Source, entries: Iterable[tuple[str, bytes]]) -> None:
    """InputError naming the first folder of label maps among (name, locator), and the images that they belong to."""
    groups: dict[tuple[str, str], FileGroup] = {}
    for name, locator in entries:
        folder, base = os.path.split(name)
        stem, extension = os.path.splitext(base)
        group = groups.setdefault((folder, extension), FileGroup(folder, extension))
        group.locators.append(locator)
        group.stems.add(stem)
    chosen = list(groups.values())
    for group in chosen[:: -(-len(chosen) // MAX_FOLDERS) or 1]:
        looked_at = group.locators[:: -(-len(group.locators) // LOOKED_AT)]
        if all(is_label_map(_read(source, locator)) for locator in looked_at):
            raise InputError(_refusal(source, group, chosen))


def _read(source: Source, locator: bytes) -> bytes:
    try:
        return source.read(locator)
    except (BrokenPicture, OSError):  # whoever prepares it says so
        return b""


def _refusal(source: Source, group: FileGroup, all_groups: list[FileGroup]) -> str:
    images = max((other for other in all_groups if other is not group), default=None,
                 key=lambda other: len(other.stems & group.stems))  # fmt: skip
    belong = ""
    if images is not None and 2 * len(images.stems & group.stems) > len(group.stems):
        belong = f", the annotations of the images {images.pattern}"
    return (
        f"{source.description}: {len(group.locators):,} files {group.pattern} are label maps, not photographs{belong}; resizing"
        f" would mix their classes. --exclude '{group.pattern}' leaves them out, --label-maps keep prepares them all the same"
    )
