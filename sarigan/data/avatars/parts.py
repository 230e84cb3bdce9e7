"""The avatar atlas: parts as colour-separable planes, resampled exactly (box filter, integers) to a resolution.

Parts lie on one canvas of CANVAS_HEIGHT x CANVAS_WIDTH pixels, each cropped to its bounding box. A picture's pixel
edges are points of one grid of 256 cells, so that a small picture is the box average of a large one, at any shift.
Source of the parts: the PyPI package python-avatars (MIT), see atlas/LICENSE.txt and scripts/build_avatar_atlas.py.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from sarigan.errors import InputError

ATLAS_PATH = Path(__file__).parent / "atlas" / "avatars.npz"

# python-avatars draws on a canvas of 264 x 280 units, the head's centre at (132, 115).
PIXELS_PER_UNIT = 1.25
CANVAS_ORIGIN = -20  # units, both axes
CANVAS_HEIGHT, CANVAS_WIDTH = 400, 380  # pixels

GRID = 256  # cells a side; the largest resolution
STEP = 2  # cells in one step of AvatarAttributes' lengths
_SUBPIXEL = 256
_FRAME = 280  # canvas pixels a side that the picture shows at 100 %: 224 units
_CENTER_Y, _CENTER_X = 45_760, 48_640  # (123, 132) units from the origin, in 1/_SUBPIXEL canvas pixels

# The share of a pixel that a part has to fill to be its class. Thin parts would vanish from a 32-pixel mask at one
# half, for a line of half a pixel rarely fills half a pixel; clothes share an outline with the shoulders below them.
_COVERAGE = dict.fromkeys(("clothes", "mouth", "nose", "eyes", "brows", "glasses"), 0.3)
_DEFAULT_COVERAGE = 0.5


@dataclass(frozen=True)
class Layer:
    """A part at one resolution. Painting over `below` gives below * transmittance + tint * color + fixed."""

    top: int  # of the bounding box, in pixels; may lie outside the picture
    left: int
    transmittance: np.ndarray  # float32 [H,W], 1 - alpha
    tint: np.ndarray | None  # float32 [H,W]
    fixed: np.ndarray | None  # float32 [3,H,W], in [0, 255]
    covered: np.ndarray  # bool [H,W]: the mask shows this part here


class Atlas:
    """All parts at one resolution; layers are made on first use and kept."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self._cells = GRID // resolution
        self._planes = load_planes()
        self._layers: dict[tuple[str, str, int, int, int], Layer] = {}

    def layer(self, kind: str, style: str, scale_percent: int, phase_y: int, phase_x: int) -> Layer:
        """The part enlarged to scale_percent and moved by a phase (in cells, less than one pixel) down and right."""
        key = (kind, style, scale_percent, phase_y, phase_x)
        layer = self._layers.get(key)
        if layer is None:
            layer = self._layers[key] = self._resample(*key)
        return layer

    def _resample(self, kind: str, style: str, scale_percent: int, phase_y: int, phase_x: int) -> Layer:
        planes = self._planes[f"{kind}/{style}"]
        alpha = planes["alpha"]
        corner_y, corner_x = (int(value) * _SUBPIXEL for value in planes["corner"])
        height, width = alpha.shape
        top, rows = self._edges(corner_y - _CENTER_Y, height, scale_percent, phase_y)
        left, columns = self._edges(corner_x - _CENTER_X, width, scale_percent, phase_x)

        small_alpha = _box_average(alpha, rows, columns)
        tint, fixed = planes.get("tint"), planes.get("fixed")
        small_tint = small_alpha if tint is alpha else None if tint is None else _box_average(tint, rows, columns)
        return Layer(
            top=top,
            left=left,
            transmittance=(255 - small_alpha).astype(np.float32) / np.float32(255),
            tint=None if small_tint is None else small_tint.astype(np.float32) / np.float32(255),
            fixed=None if fixed is None else _box_average(fixed, rows, columns).astype(np.float32),
            covered=small_alpha >= _COVERAGE.get(kind, _DEFAULT_COVERAGE) * int(alpha.max()),
        )

    def _edges(self, start: int, length: int, scale_percent: int, phase: int) -> tuple[int, np.ndarray]:
        """First pixel that meets [start, start + length) and the pixels' edges there, both from the part's start."""
        pixels = np.arange(-self.resolution, 2 * self.resolution + 1)
        cells = pixels * self._cells - phase - GRID // 2
        edges = np.floor_divide(cells * (_FRAME * _SUBPIXEL * 100), GRID * scale_percent) - start
        first = int(np.searchsorted(edges, 0, side="right")) - 1
        last = int(np.searchsorted(edges, length * _SUBPIXEL, side="left"))
        return int(pixels[first]), edges[first : last + 1]


def _box_average(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Mean of a uint8 plane [...,H,W] over each box between neighbouring edges, outside it zero, rounded; int64."""
    sums = _box_sums(_box_sums(plane, rows, np.int32).swapaxes(-1, -2), columns, np.int64).swapaxes(-1, -2)
    areas = np.diff(rows)[:, None] * np.diff(columns)
    return (sums + areas // 2) // areas


def _box_sums(plane: np.ndarray, edges: np.ndarray, dtype: type) -> np.ndarray:
    """Integrals along the next-to-last axis between neighbouring edges, in 1/_SUBPIXEL pixels. Exact in dtype."""
    length = plane.shape[-2]
    cumulative = np.zeros((*plane.shape[:-2], length + 1, plane.shape[-1]), dtype=dtype)
    np.cumsum(plane, axis=-2, dtype=dtype, out=cumulative[..., 1:, :])
    whole, part = np.divmod(np.clip(edges, 0, length * _SUBPIXEL), _SUBPIXEL)
    weight = part[:, None].astype(dtype)
    following = np.minimum(whole + 1, length)
    return np.diff(cumulative[..., whole, :] * (_SUBPIXEL - weight) + cumulative[..., following, :] * weight, axis=-2)


@cache
def load_planes() -> dict[str, dict[str, np.ndarray]]:
    """Part "kind/style" -> its planes: corner [2], alpha [H,W] and perhaps tint [H,W], fixed [3,H,W]."""
    _check_atlas()
    planes: dict[str, dict[str, np.ndarray]] = {}
    with np.load(ATLAS_PATH) as archive:
        for name in archive.files:
            part, _, plane = name.rpartition("/")
            planes.setdefault(part, {})[plane] = archive[name]
    for part_planes in planes.values():
        if np.array_equal(part_planes["alpha"], part_planes.get("tint", ())):
            part_planes["tint"] = part_planes["alpha"]  # one object, resampled once
    return planes


@cache
def atlas_digest() -> str:
    """Identifies the shipped atlas: the head of the file's SHA-256."""
    _check_atlas()
    return hashlib.sha256(ATLAS_PATH.read_bytes()).hexdigest()[:16]


def _check_atlas() -> None:
    if not ATLAS_PATH.is_file():
        raise InputError(f"{ATLAS_PATH}: no such file; reinstall sarigan or run scripts/build_avatar_atlas.py")
