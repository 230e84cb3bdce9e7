"""Masks for inpainting by name, each a function of (kind, resolution, seed, index).

Inside, a hole is True: bool [R,R]. What leaves this file as part of a `Batch` is uint8 [1,R,R], 1 where the image is known.
Ranges are those of the published code, in pixels of a 256 px image; other sizes scale them. `comod` alone keeps the width of
its brush in pixels whatever the size, as its code does. hi is excluded in [lo, hi).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sarigan.data.loader import DataConfig
from sarigan.data.mask_files import WHITES, MaskFolder
from sarigan.errors import InputError, require_one_of
from sarigan.seeding import derive_seed

Random = np.random.Generator
REFERENCE = 256  # px, of the ranges
MAX_TRIES = 1000
BRUSH_ANGLE, BRUSH_SPREAD = 2 * math.pi / 5, 2 * math.pi / 15
LAMA_ANGLES = 4  # radians: 0.01 + 0, 1, 2 or 3
LAMA_BOX_PROBABILITY = 0.3 / 1.3


def center(r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
    """The middle square of half the side: 64 to 191 of 256."""
    hole = np.zeros((r, r), dtype=bool)
    hole[r // 4 : r // 4 + r // 2, r // 4 : r // 4 + r // 2] = True
    return hole


def box(r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
    """A square of half the side anywhere, each axis trimmed by 0 to r/16 at both ends (Yu et al. 2018): 19.1% on average."""
    hole = np.zeros((r, r), dtype=bool)
    half = r // 2
    top, left = random.integers(0, half, size=2)
    y, x = random.integers(0, r // 16 + 1, size=2)
    hole[top + y : top + half - y, left + x : left + half - x] = True
    return hole


def rotated_square(r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
    """A square of half the side, turned by 0 to 45 whole degrees on a canvas that grows, and brought back to r (PEN-Net).

    At t degrees the hole is 25% / (1 + sin 2t) of the image: 16% on average.
    """
    left, top = random.integers(0, r // 2 + 1, size=2)
    picture = Image.new("L", (r, r))
    ImageDraw.Draw(picture).rectangle((left, top, left + r // 2 - 1, top + r // 2 - 1), fill=255)
    for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
        if random.random() < 0.5:
            picture = picture.transpose(flip)
    turned = picture.rotate(int(random.integers(0, 46)), expand=True).filter(ImageFilter.MaxFilter(3))
    return np.asarray(turned.resize((r, r), Image.Resampling.NEAREST)) > 127


def brush_strokes(r: int, random: Random, count: int, vertices: tuple[int, int], width: tuple[float, float]) -> np.ndarray:
    """Zigzag strokes with round joints (Yu et al. 2019, "Free-Form Image Inpainting", appendix).

    Steps are N(R, R/2) clipped to 0..2R with R = diagonal / 8. Their directions alternate between +a and -a, a drawn within
    2 pi/5 +- up to 2 pi/15.
    """
    picture = Image.new("L", (r, r))
    draw = ImageDraw.Draw(picture)
    radius = math.hypot(r, r) / 8
    for _ in range(count):
        num_steps = int(random.integers(*vertices))
        low, high = BRUSH_ANGLE - random.uniform(0, BRUSH_SPREAD), BRUSH_ANGLE + random.uniform(0, BRUSH_SPREAD)
        x, y = (int(v) for v in random.integers(0, r, size=2))
        points = [(x, y)]
        for step in range(num_steps):
            angle = random.uniform(low, high) * (-1 if step % 2 == 0 else 1)
            length = float(np.clip(random.normal(radius, radius // 2), 0, 2 * radius))
            x = int(np.clip(x + length * math.cos(angle), 0, r))
            y = int(np.clip(y + length * math.sin(angle), 0, r))
            points.append((x, y))
        _round_line(draw, points, max(1, int(random.uniform(*width))))
    return np.asarray(picture) > 0


def brush(r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
    """A `box` joined with 1 to 3 strokes of 4 to 11 steps, 12 to 39 px wide (Yu et al. 2019): 31% on average at 256 px."""
    scale = r / REFERENCE
    strokes = brush_strokes(r, random, int(random.integers(1, 4)), (4, 12), (12 * scale, 40 * scale))
    return box(r, random, share) | strokes


def comod(r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
    """0-9 rectangles below r/2, 0-4 below r, 0-19 strokes of 4 to 17 steps and 12 to 47 px (Zhao et al. 2021, CoModGAN).

    The three counts end at 10, 5 and 20 times min(1, the sum of the bounds `share` of the hole's share).
    """
    factor = min(sum(share), 1.0)
    hole = np.zeros((r, r), dtype=bool)
    for most, largest in ((10, r // 2), (5, r)):
        for _ in range(_below(random, int(most * factor))):
            width, height = random.integers(0, largest, size=2)
            left = int(random.integers(-(width // 2), r - width + width // 2))
            top = int(random.integers(-(height // 2), r - height + height // 2))
            hole[max(top, 0) : top + height, max(left, 0) : left + width] = True
    strokes = brush_strokes(r, random, _below(random, int(20 * factor)), (4, 18), (12, 48))
    for axis in (0, 1):
        if random.random() < 0.5:
            strokes = np.flip(strokes, axis)
    return hole | strokes


@dataclass(frozen=True)
class Lama:
    """Masks of LaMa (Suvorov et al. 2022, appendix) at 256 px: strokes of 1 to 5 segments, or with probability 3/13 boxes."""

    strokes: tuple[int, int]
    width: tuple[int, int]  # px
    length: tuple[int, int]  # px, of a segment
    boxes: tuple[int, int] | None = None
    side: tuple[int, int] = (0, 0)  # px, of a box
    margin: int = 0  # px between a box and the border

    def __call__(self, r: int, random: Random, share: tuple[float, float]) -> np.ndarray:
        scale = r / REFERENCE
        picture = Image.new("L", (r, r))
        draw = ImageDraw.Draw(picture)
        if self.boxes is not None and random.random() < LAMA_BOX_PROBABILITY:
            margin = round(self.margin * scale)
            for _ in range(int(random.integers(*self.boxes))):
                width, height = (max(1, round(side * scale)) for side in random.integers(*self.side, size=2))
                left = int(random.integers(margin, r - margin - width + 1))
                top = int(random.integers(margin, r - margin - height + 1))
                draw.rectangle((left, top, left + width - 1, top + height - 1), fill=255)
            return np.asarray(picture) > 0
        for stroke in range(int(random.integers(*self.strokes))):
            x, y = (int(v) for v in random.integers(0, r, size=2))
            for _ in range(int(random.integers(1, 6))):
                angle = (0.01 + random.integers(0, LAMA_ANGLES)) * (-1 if stroke % 2 == 0 else 1)
                length = random.integers(*self.length) * scale
                width = max(1, round(int(random.integers(*self.width)) * scale))
                to = (int(np.clip(x + length * math.sin(angle), 0, r)), int(np.clip(y + length * math.cos(angle), 0, r)))
                _round_line(draw, [(x, y), to], width)
                x, y = to
        return np.asarray(picture) > 0


def _round_line(draw: ImageDraw.ImageDraw, points: list[tuple[int, int]], width: int) -> None:
    draw.line(points, fill=255, width=width)
    half = width // 2
    for x, y in points:
        draw.ellipse((x - half, y - half, x + half, y + half), fill=255)


def _below(random: Random, most: int) -> int:
    return int(random.integers(0, most)) if most > 0 else 0


# (R, random numbers, bounds of the hole's share) -> hole [R,R], by `data.mask.kind`.
KINDS: dict[str, Callable[[int, Random, tuple[float, float]], np.ndarray]] = {
    "center": center,
    "box": box,
    "rotated_square": rotated_square,
    "brush": brush,
    "comod": comod,
    "lama_thick": Lama((1, 7), (5, 105), (10, 210), boxes=(1, 4), side=(30, 151), margin=10),
    "lama_medium": Lama((4, 7), (5, 55), (10, 110), boxes=(1, 6), side=(10, 51)),
    "lama_thin": Lama((4, 52), (5, 15), (10, 50)),
}
_MOST_HOLE = {"lama_thick": 0.5, "lama_medium": 0.5, "lama_thin": 0.5}  # in their code


@dataclass(frozen=True)
class MaskConfig:
    """Which holes are cut. A mask is drawn again until its hole's share lies strictly between the bounds."""

    kind: str = "brush"  # center | box | rotated_square | brush | comod | lama_thick | lama_medium | lama_thin | file
    path: str | None = None  # of `file`: a folder of masks
    white: str = "auto"  # of `file`: hole | known; auto: hole, and masks that look inverted are refused
    min_hole: float = 0.0  # share of the image; not of `file`
    max_hole: float = 1.0  # share of the image; not of `file`

    def __post_init__(self) -> None:
        require_one_of(self, "data.mask.", kind=(*KINDS, "file"), white=WHITES)
        if (self.kind == "file") != bool(self.path):
            raise InputError(
                f"data.mask.path must be a folder of masks for data.mask.kind=file, and null otherwise, got {self.path!r}"
                f" with kind={self.kind!r}"
            )
        if not 0 <= self.min_hole < self.max_hole <= 1:
            raise InputError(
                f"data.mask.min_hole and max_hole must be shares with 0 <= min_hole < max_hole <= 1,"
                f" got {self.min_hole} and {self.max_hole}"
            )
        if self.kind == "file" and (self.min_hole, self.max_hole) != (0, 1):
            raise InputError(
                "data.mask.min_hole and max_hole must be 0 and 1 for data.mask.kind=file, whose masks are taken as they are,"
                f" got {self.min_hole} and {self.max_hole}"
            )


class MaskSource:
    """index -> mask uint8 [1,R,R], 1 where the image is known. A mask of a kind is drawn; of a folder one is chosen.

    InputError for a folder that holds no mask, and for bounds of the hole that a kind does not meet in 1000 draws.
    """

    def __init__(self, config: MaskConfig, resolution: int, seed: int) -> None:
        if resolution < 8:
            raise InputError(f"masks are drawn at 8 px and more, got {resolution}")
        self.config, self.resolution, self.seed = config, resolution, seed
        self.folder = None if config.path is None else MaskFolder(config.path, resolution, config.white)

    def __call__(self, index: int) -> np.ndarray:
        random = np.random.default_rng(derive_seed(self.seed, "mask", index))
        if self.folder is not None:
            return self.folder.mask(self.folder.names[int(random.integers(len(self.folder.names)))])
        kind, share = self.config.kind, (self.config.min_hole, self.config.max_hole)
        most = min(share[1], _MOST_HOLE.get(kind, 1.0))
        for _ in range(MAX_TRIES):
            hole = KINDS[kind](self.resolution, random, share)
            if share[0] < hole.mean() < most:
                return (~hole[None]).astype(np.uint8)
        raise InputError(
            f"data.mask: none of {MAX_TRIES} masks of kind {kind!r} at {self.resolution} px has a hole between"
            f" {share[0]:g} and {most:g} of the image; other bounds are right"
        )

    def fields(self, position: int) -> dict[str, np.ndarray]:
        """The mask as a field of `Batch`."""
        return {"mask": self(position)}


@dataclass(frozen=True)
class MaskedDataConfig(DataConfig):
    """Training images with a mask for every position of a run, so that an image has another hole in every epoch."""

    mask: MaskConfig = field(default_factory=MaskConfig)

    def extras_by_position(self, resolution: int, seed: int) -> Callable[[int], dict[str, np.ndarray]]:
        """A mask for every position."""
        return MaskSource(self.mask, resolution, seed).fields
