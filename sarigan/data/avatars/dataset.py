"""avatars: a procedural data set of drawn faces with exact attributes and part masks, for runs without a download.

Parts of the PyPI package python-avatars (MIT) are composited with numpy as each image is asked for. An image is a
function of (seed, index) alone; horizontal flips are the sampler's business.
"""

from functools import cache
from operator import index as as_int

import numpy as np

from sarigan.data.avatars.attributes import (
    BACKGROUND_COLORS,
    CHOICES,
    CLOTHES_COLORS,
    HAIR_COLORS,
    SKIN_COLORS,
    AvatarAttributes,
    draw_attributes,
    draw_choice,
)
from sarigan.data.avatars.parts import GRID, STEP, Atlas, Layer, atlas_digest
from sarigan.data.labels import ClassLabels
from sarigan.errors import InputError

KEY_PREFIX = "avatars-v"
VERSION = 1  # raise it when the same (seed, index) gives other pixels
RESOLUTIONS = (32, 64, 128, 256)
PART_NAMES = ("background", "skin", "clothes", "mouth", "nose", "eyes", "brows", "beard", "hair", "glasses")
_GRADIENT = 0.45  # share of white that a graded background has at the upper edge

Color = tuple[int, int, int]
PlacedLayer = tuple[int, Layer, Color | None, int, int]  # class, layer, tint, top, left


class AvatarDataset:
    """Images uint8 [3,R,R] of drawn faces, each with its attributes and a part mask uint8 [R,R] (see PART_NAMES).

    resolution is 32, 64, 128 or 256. Raises InputError for a wrong argument and IndexError for an index out of range.
    """

    def __init__(self, resolution: int, num_images: int = 100_000, seed: int = 0) -> None:
        if resolution not in RESOLUTIONS:
            raise InputError(f"avatars: resolution must be one of {', '.join(map(str, RESOLUTIONS))}, got {resolution}")
        if num_images < 1:
            raise InputError(f"avatars: num_images must be at least 1, got {num_images}")
        if not -(2**63) <= seed < 2**63:
            raise InputError(f"avatars: seed must fit in a signed 64-bit integer, got {seed}")
        self.resolution = resolution
        self.num_images = num_images
        self.seed = seed

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: uint8 [3,R,R], RGB."""
        attributes = self.attributes(index)
        return _paint_image(attributes, _place_layers(attributes, self.resolution), self.resolution)

    def attributes(self, index: int) -> AvatarAttributes:
        """The attributes of the image."""
        index = as_int(index)
        if not 0 <= index < self.num_images:
            raise IndexError(f"avatars: index {index} is out of range for {self.num_images} images")
        return draw_attributes(self.seed, index)

    def mask(self, index: int) -> np.ndarray:
        """The class of the topmost part at each pixel: uint8 [R,R], an index into PART_NAMES."""
        return _paint_mask(_place_layers(self.attributes(index), self.resolution), self.resolution)

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray, AvatarAttributes]:
        """Image, mask and attributes, faster than one by one."""
        attributes = self.attributes(index)
        return (*self.render(attributes), attributes)

    def render(self, attributes: AvatarAttributes) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask of any attributes, such as those of an image with one of them edited."""
        layers = _place_layers(attributes, self.resolution)
        return _paint_image(attributes, layers, self.resolution), _paint_mask(layers, self.resolution)

    def class_labels(self, source: str) -> ClassLabels:
        """The values of an attribute that is one of several names (`CHOICES`), such as hair_color."""
        if source not in CHOICES:
            raise InputError(f"data.labels of avatars must be one of {', '.join(CHOICES)}, got {source!r}")
        numbers = [draw_choice(source, self.seed, index) for index in range(self.num_images)]
        return ClassLabels([*CHOICES[source]], numbers, str)

    def describe(self) -> str:
        return f"avatars: {self.num_images} images, {self.resolution}x{self.resolution}, seed {self.seed}"

    @property
    def content_key(self) -> str:
        """Changes whenever the pixels would."""
        return f"{KEY_PREFIX}{VERSION}-{atlas_digest()}-r{self.resolution}-n{self.num_images}-s{self.seed}"


def are_avatars(dataset: object) -> bool:
    """Whether a data set holds avatars of this file, with labels or without."""
    return str(getattr(dataset, "content_key", "")).startswith(KEY_PREFIX)


@cache
def _atlas(resolution: int) -> Atlas:
    """The atlas, shared by all data sets of a process; so a data set pickles to its three numbers."""
    return Atlas(resolution)


def _place_layers(attributes: AvatarAttributes, resolution: int) -> list[PlacedLayer]:
    """The layers from the lowest to the topmost."""
    atlas, a = _atlas(resolution), attributes
    cells = GRID // resolution
    hair_color = HAIR_COLORS[a.hair_color]
    # A beard grows from the head's outline, a moustache sits below the nose.
    beard_x = a.face_x if a.beard.startswith("moustache") else 0
    eyes_y, brows_y = a.eyes_y, a.eyes_y + a.brows_y
    placed: list[PlacedLayer] = []
    for part, kind, style, color, x, y in (
        (1, "body", "default", SKIN_COLORS[a.skin_color], 0, 0),
        (2, "clothes", a.clothes, CLOTHES_COLORS[a.clothes_color], 0, 0),
        (3, "mouth", a.mouth, None, a.face_x, a.mouth_y),
        (4, "nose", a.nose, None, a.face_x, 0),
        (5, "eyes", a.eyes, None, a.face_x, eyes_y),
        (6, "brows", a.brows, None, a.face_x, brows_y),
        (7, "beard", a.beard, hair_color, beard_x, 0),
        (8, "hair", a.hair, hair_color, 0, 0),
        (9, "glasses", a.glasses, None, a.face_x, eyes_y),
    ):
        if style == "none":
            continue
        down, phase_y = divmod((a.shift_y + y) * STEP, cells)
        right, phase_x = divmod((a.shift_x + x) * STEP, cells)
        layer = atlas.layer(kind, style, a.scale_percent, phase_y, phase_x)
        placed.append((part, layer, color, layer.top + down, layer.left + right))
    return placed


def _paint_image(attributes: AvatarAttributes, layers: list[PlacedLayer], resolution: int) -> np.ndarray:
    image = np.empty((3, resolution, resolution), dtype=np.float32)
    image[:] = _background(attributes.background_color, attributes.background_gradient, resolution)
    for _, layer, color, top, left in layers:
        target, source = _overlap(layer, top, left, resolution)
        below = image[:, target[0], target[1]]
        below *= layer.transmittance[source]
        if layer.tint is not None and color is not None:
            tint = layer.tint[source]
            for channel in range(3):
                below[channel] += tint * np.float32(color[channel])
        if layer.fixed is not None:
            below += layer.fixed[:, source[0], source[1]]
    image += np.float32(0.5)
    # Premultiplied planes are rounded one by one, so that a sum may pass 255 by a rounding error.
    return np.minimum(image, np.float32(255), out=image).astype(np.uint8)


def _paint_mask(layers: list[PlacedLayer], resolution: int) -> np.ndarray:
    mask = np.zeros((resolution, resolution), dtype=np.uint8)
    for part, layer, _, top, left in layers:
        target, source = _overlap(layer, top, left, resolution)
        np.copyto(mask[target], part, where=layer.covered[source])
    return mask


def _overlap(layer: Layer, top: int, left: int, resolution: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the layer meets the picture: slices of the picture and of the layer."""
    height, width = layer.transmittance.shape
    up, down = max(top, 0), min(top + height, resolution)
    first, last = max(left, 0), min(left + width, resolution)
    return (slice(up, down), slice(first, last)), (slice(up - top, down - top), slice(first - left, last - left))


@cache
def _background(color: str, gradient: bool, resolution: int) -> np.ndarray:
    """Float32 [3,R,1]: plain, or graded linearly from the colour at the bottom towards white at the top."""
    base = np.array(BACKGROUND_COLORS[color], dtype=np.float64)[:, None, None]
    height = (np.arange(resolution, dtype=np.float64)[::-1, None] + 0.5) / resolution
    return (base + (255 - base) * (_GRADIENT * gradient) * height).astype(np.float32)
