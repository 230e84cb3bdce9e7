"""Images of a painted layout, by a model of `system: semantic_layout`. No web code.

A layout is int64 [H,W] of the model's size, a number a class; void is the number after the last class.
"""

import base64
import binascii
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.data.layouts.edges import instance_edges
from sarigan.data.layouts.one_layout import fitted, layout_reader
from sarigan.editor.projecting import Upload, checked_upload, read_picture
from sarigan.errors import InputError
from sarigan.pretrained import load_semantic_layout
from sarigan.systems.semantic_layout.synthesis import paint_styles
from sarigan.visualization.layout_sheet import palette

MAX_STYLES = 8
LAYOUT_NAME = "layout.png"
MAX_PALETTE = 256  # entries of a PNG's


@dataclass(frozen=True)
class LayoutClass:
    """What a brush paints: a name, and its colour `#rrggbb`."""

    name: str
    color: str


class LayoutModel:
    """The generator of a source (as `load_semantic_layout` takes it), its classes, and layouts to start from.

    InputError when there is none to read, or when its table of colours is not there.
    """

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        self.source = source
        self._system = load_semantic_layout(source, device)
        config = self._system.config
        self.size, self.data, self.style = config.image_size, config.data, config.generator.style
        self._reader = layout_reader(config.data)
        count, table = self._system.channels.num_labels, self._reader.colors
        self._colors = palette(count) if table is None else table.colors
        names = config.data.class_names() if table is None else table.names
        self.classes = [
            LayoutClass(name, "#{:02x}{:02x}{:02x}".format(*color))
            for name, color in zip([*names, "void"], self._colors.tolist(), strict=False)
        ]

    @property
    def name(self) -> str:
        """For people that need not know the folders of this machine."""
        return Path(self.source).name

    @property
    def takes_references(self) -> bool:
        """Whether the style of a picture can be taken: there is an image encoder."""
        return self.style == "encoder"

    @property
    def draws_styles(self) -> bool:
        """Whether seeds give unlike images."""
        return self.style != "none"

    @property
    def takes_region_noise(self) -> bool:
        """Whether every class can have noise of its own."""
        return self.style == "noise"

    @property
    def num_avatars(self) -> int:
        """How many layouts of built-in avatars there are to start from, which training did not see; 0 for other data."""
        return len(self._system.synthesized.held_out) if self.data.name == "avatars" else 0

    def description(self) -> str:
        """One line for the head of the page."""
        height, width = self.size
        style = {"encoder": "style of a seed or of a picture", "noise": "style of a seed", "none": "one style"}[self.style]
        parts = [f"{width} x {height} px", f"{len(self.classes)} classes", style]
        if self._system.channels.has_edges:
            parts.append("edges of objects, of which every painted class counts as one")
        return ", ".join(parts)

    # Layouts

    def empty(self) -> np.ndarray:
        """All of the first class."""
        return np.zeros(self.size, dtype=np.int64)

    def first_layout(self) -> np.ndarray:
        """What the page shows first: that of an avatar where there are any."""
        return self.of_avatar(0) if self.num_avatars else self.empty()

    def of_avatar(self, number: int) -> np.ndarray:
        """The layout of a built-in avatar. InputError for a number that is not there."""
        if not 0 <= number < self.num_avatars:
            raise InputError(f"avatar must be 0 to {self.num_avatars - 1}, got {number}")
        layout = self._system.synthesized.held_out.batch([number]).layout
        assert layout is not None
        return layout[0].numpy()

    def of_upload(self, upload: Upload) -> np.ndarray:
        """A layout as training reads them, resized nearest. InputError naming the file: no picture, values, colours, aspect."""
        return fitted(self._reader.read(checked_upload(upload), upload.name), self.size, upload.name)

    def packed(self, layout: np.ndarray) -> str:
        """Base64 of the numbers row by row, a byte each, two (little-endian) from 257 classes on."""
        return base64.b64encode(layout.astype(self._packed_type).tobytes()).decode()

    def unpacked(self, text: Any) -> np.ndarray:
        """What `packed` gave; empty text is `empty`. InputError for another size and for numbers that are no class."""
        if text is None or text == "":
            return self.empty()
        try:
            numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype=self._packed_type).astype(np.int64)
        except (binascii.Error, ValueError, TypeError):
            raise InputError("the painted layout did not arrive whole; paint again") from None
        height, width = self.size
        if numbers.size != height * width:
            raise InputError(f"the painted layout has {numbers.size} pixels, the model takes {width}x{height}")
        if numbers.max() >= len(self.classes):
            raise InputError(f"the painted layout holds class {numbers.max()}; there are 0 to {len(self.classes) - 1}")
        return numbers.reshape(self.size)

    @property
    def _packed_type(self) -> str:
        return "u1" if len(self.classes) <= 256 else "<u2"

    def layout_file(self, layout: np.ndarray) -> bytes:
        """A PNG that `sarigan synthesize` reads as this layout: class numbers, whose palette has the classes' colours.

        Numbers beyond a palette are stored as 16-bit grey, or, where the model has a table of colours, as colours.
        """
        values = np.arange(len(self.classes))
        if self._reader.colors is None and self.data.void is not None:
            values[-1] = self.data.void
        file = io.BytesIO()
        if values.max() < MAX_PALETTE:
            picture = Image.fromarray(values[layout].astype(np.uint8))
            entries = np.zeros((MAX_PALETTE, 3), dtype=np.uint8)
            entries[values] = self._colors
            picture.putpalette(entries.tobytes())
        elif self._reader.colors is not None:
            picture = Image.fromarray(self._colors[layout])
        else:
            picture = Image.fromarray(values[layout].astype(np.uint16))
        picture.save(file, format="PNG")
        return file.getvalue()

    # Images

    def images(
        self, layout: np.ndarray, seeds: Sequence[int], references: Sequence[Upload] = (), by_region: bool = False
    ) -> dict[str, Tensor]:
        """Images [1,3,H,W] by seed and by the name of a reference picture: those of `sarigan synthesize`.

        InputError for too many or no styles, a layout without a class, and what is no picture.
        """
        names = [*map(str, seeds), *(Path(upload.name).stem for upload in references)]
        if not 1 <= len(names) <= MAX_STYLES:
            either = "seeds and pictures" if self.takes_references else "seeds"
            raise InputError(f"1 to {MAX_STYLES} {either} are shown at once, got {len(names)}")
        for name in (name for name, count in Counter(names).items() if count > 1):
            raise InputError(f"two styles have the name {name!r}; leave one out, or rename the picture")
        if self.data.void is not None and (layout == self.data.num_classes).all():
            raise InputError("the layout is void everywhere; paint a class")
        if references and not self.takes_references:
            raise InputError(f"this model has no image encoder (generator.style={self.style}); its styles are seeds")
        styles = {name: _pixels(read_picture(upload)) for name, upload in zip(names[len(seeds) :], references, strict=True)}
        edges = torch.from_numpy(instance_edges(layout))[None] if self._system.channels.has_edges else None
        batch = Batch(
            torch.zeros(1, 3, *self.size, dtype=torch.uint8), layout=torch.from_numpy(layout)[None], edges=edges
        )  # fmt: skip
        made = paint_styles(
            self._system.average.module, self._system.channels, batch, seeds, styles, by_region and self.takes_region_noise
        )
        return {name: image.float().cpu() for name, image in made.items()}

    def command_line(self, seeds: str, references: Sequence[Upload], by_region: bool = False) -> str:
        """`sarigan synthesize ...` that makes the same images, next to the saved layout and the pictures."""
        words = ["sarigan", "synthesize", self.source, LAYOUT_NAME]
        words += ["--seeds", seeds] if seeds else []
        words += ["--style", *(upload.name for upload in references)] if references else []
        words += ["--instances", LAYOUT_NAME] if self._system.channels.has_edges else []
        words += ["--by-region"] if by_region and self.takes_region_noise else []
        return shlex.join(words)


def _pixels(picture: Image.Image) -> Tensor:
    """uint8 [1,3,h,w]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
