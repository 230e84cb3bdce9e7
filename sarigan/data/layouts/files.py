"""One layout out of a file: numbers of classes, or colours by a table, checked when it is read.

Every error names the file, what was found and what is allowed.
"""

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, opened_picture
from sarigan.files.reading import reason_of

NUMBER_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
_COLOR_LINE = re.compile(r"^(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?:[\s,;]+(.*))?$")


@dataclass(frozen=True)
class ColorTable:
    """colors uint8 [K,3]: the colour of each class, in the order of a text file's lines `R G B name`."""

    source: str
    colors: np.ndarray
    names: list[str]

    @staticmethod
    def parse(text: str, source: str) -> "ColorTable":
        """InputError naming the line that is none, or whose colour an earlier one has."""
        colors: dict[tuple[int, ...], str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = _COLOR_LINE.match(line.strip())
            color = tuple(int(found[i]) for i in (1, 2, 3)) if found else ()
            if found is None or max(color) > 255:
                raise InputError(
                    f"{source}: line {number} must be three numbers up to 255 and a name, got {line.strip()[:60]!r}"
                )
            name = (found[4] or f"class {len(colors)}").strip()
            if color in colors:
                raise InputError(
                    f"{source}: line {number} gives {name!r} the colour of {colors[color]!r}; each class needs its own"
                )
            colors[color] = name
        if not colors:
            raise InputError(f"{source}: holds no colour; a line is R G B name")
        return ColorTable(source, np.array(list(colors), dtype=np.uint8), list(colors.values()))

    def numbers(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """uint8 [H,W,3] -> the number of each pixel's class, int32 [H,W]. InputError for a colour that is not in the table."""
        codes, table = _code(pixels), _code(self.colors)
        order = np.argsort(table)
        place = np.searchsorted(table[order], codes).clip(max=len(table) - 1)
        numbers = order[place]
        wrong = table[numbers] != codes
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            color = " ".join(map(str, pixels[row, column]))
            raise InputError(
                f"{where}: colour {color} at row {row}, column {column} is none of the {len(table)} of {self.source}"
                f" ({int(wrong.sum())} such pixels)"
            )
        return numbers.astype(np.int32)


def _code(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


class LayoutSettings(Protocol):
    """What the readers of a set ask of a configuration: the fields of `LayoutDataConfig`."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""

    @property
    def void(self) -> int | None:
        """The value of no class."""

    @property
    def instances(self) -> bool:
        """Whether there are numbers of objects."""

    @property
    def colors(self) -> str | None:
        """The file of the table of colours."""

    @property
    def crop(self) -> str:
        """none | center."""

    def load_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width before the random cut of `size`."""


@dataclass(frozen=True)
class LayoutReader:
    """Reads layouts of `num_classes` classes: values 0 .. num_classes - 1, and `void` where it is a number."""

    num_classes: int
    void: int | None = None
    colors: ColorTable | None = None

    def __post_init__(self) -> None:
        if self.colors is not None and len(self.colors.colors) != self.num_classes + (self.void is not None):
            wanted = f"data.num_classes={self.num_classes}" + (" and void" if self.void is not None else "")
            raise InputError(f"{self.colors.source}: has {len(self.colors.colors)} colours, {wanted} needs another number")

    def read(self, data: bytes, where: str) -> np.ndarray:
        """The bytes of a picture file -> int64 [H,W], void as num_classes. InputError naming `where`."""
        numbers = self.checked(read_numbers(data, where, self.colors), where)
        if (numbers == self.num_classes).all():
            raise InputError(f"{where}: is void everywhere; a layout needs a pixel of a class")
        return numbers

    def checked(self, numbers: np.ndarray, where: str) -> np.ndarray:
        """Numbers as they stand in a file -> those of the channels. With a table of colours, void is its last line."""
        void = self.num_classes if self.colors is not None else self.void
        is_void = np.zeros(numbers.shape, dtype=bool) if self.void is None else numbers == void
        wrong = ((numbers < 0) | (numbers >= self.num_classes)) & ~is_void
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            also = "" if self.void is None else f" and {self.void} (void)"
            raise InputError(
                f"{where}: value {numbers[row, column]} at row {row}, column {column} is out of range;"
                f" data.num_classes={self.num_classes} allows 0 to {self.num_classes - 1}{also}"
                f" ({int(wrong.sum())} such pixels)"
            )
        return np.where(is_void, self.num_classes, numbers).astype(np.int64)


def read_numbers(data: bytes, where: str, colors: ColorTable | None = None) -> np.ndarray:
    """The bytes of a picture -> integers [H,W]: its values, those of a palette's entries, or by a table of colours."""
    try:
        with opened_picture(data) as picture:
            mode, kind = picture.mode, picture.format
            if kind in ("JPEG", "MPO") or (kind == "WEBP" and colors is None):
                raise BrokenPicture(f"{kind} changes values; labels must be PNG")
            if colors is not None:
                pixels = np.asarray(picture.convert("RGB"))
            elif mode in NUMBER_MODES:
                pixels = np.asarray(picture).astype(np.int64)
    except BrokenPicture as error:
        raise InputError(f"{where}: not a readable layout ({reason_of(error)})") from None
    if colors is not None:
        return colors.numbers(pixels, where)
    if mode not in NUMBER_MODES:
        raise InputError(
            f"{where}: is a picture of mode {mode}; labels are grey or palette numbers, or data.colors names their table"
        )
    return pixels


def resized_numbers(numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest pixel to the centre of each new one: [H,W] -> [h,w] for size (h, w)."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, numbers.shape, strict=True)
    )
    return numbers[rows[:, None], columns]
