"""The format of a prepared set: one LMDB with a header, and records whose keys sort by image.

    .header            JSON, the fields of `Header`
    .report            JSON: source, what was left out and converted, versions; not part of the hash
    .skipped/<number>  JSON: name and reason of a picture that was left out; not part of the hash
    .state             only while the preparation is unfinished
    00000000/00256     image 0 at 256 px: `raw` or `webp`, both exact (docs/datasets.md compares them with others)
                       raw: the planes R, G, B as they are, uint8 [3,R,R]. webp: lossless WebP, about 0.37 of raw, slower
    00000000/00256.layout  where the set has layouts: uint16 [R,R], zlib; the class of each pixel, void as the number of
                       classes, and 2^15 more at the edge of an instance. Its SHA-256 is in the info, too
    00000000/info      JSON: name in the source, label, attributes, head of each image's SHA-256

Hash: c_0 = 32 zero bytes; c_{i+1} = SHA-256(c_i, key_i, SHA-256(record_i)) over the records in key order;
content_hash = SHA-256(canonical header without content_hash, c_n). It can go on from c_i alone after an interruption.
"""

import dataclasses
import hashlib
import io
import json
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from sarigan.errors import InputError, require_one_of
from sarigan.files.picture import ALPHAS
from sarigan.files.reading import reading

FORMAT = "sarigan image set"
FORMAT_VERSION = 1
HEADER_KEY, REPORT_KEY, STATE_KEY, SKIPPED_PREFIX = b".header", b".report", b".state", b".skipped/"
MAX_IMAGES = 10**8  # keys have eight digits: a ninth would sort before them
EMPTY_CHAIN = bytes(32)
_KIND = "header of a prepared image set"
DIGEST_HEAD = 16  # hexadecimal digits of an image's SHA-256 in its info
CROPS = ("none", "center", "center_wide", "pad")
FILTERS = ("lanczos", "box")
MAX_RESOLUTION = 8192
ENCODINGS = ("raw", "webp")
# Effort 0 of 6: within 8 % of the size of effort 4 at a fifteenth of its time, and the fastest to decode.
_WEBP_EFFORT = 0
_EDGE = 1 << 15  # in a layout's record


@dataclass(frozen=True)
class LayoutRecipe:
    """What the layouts of a set mean. has_void: num_classes itself stands for "no class"."""

    num_classes: int
    has_void: bool = False
    has_edges: bool = False

    def __post_init__(self) -> None:
        if type(self.num_classes) is not int or not 1 <= self.num_classes < _EDGE:
            raise InputError(f"--num-classes must be in 1..{_EDGE - 1}, got {self.num_classes}")


@dataclass(frozen=True)
class Recipe:
    """What turns pictures into the images of a set: everything that decides a pixel. `InputError` names a wrong field.

    crop: none (the picture is square) | center (the middle square) | center_wide (the middle 4:3 rectangle, black
    above and below) | pad (the whole picture, black beside it). Resizing is always antialiased.
    """

    resolutions: tuple[int, ...]  # ascending
    crop: str = "center"
    resize_filter: str = "lanczos"
    alpha: str = "white"  # transparent pixels: over white | over black | drop (ignore alpha) | refuse (list as broken)
    enlarge: bool = False  # False: pictures smaller than the largest resolution are left out
    encoding: str = "raw"
    resized_from: int | None = None  # of a set made from a prepared one: the resolution that was read there
    layout: LayoutRecipe | None = None  # None: the set has no layouts

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolutions", tuple(sorted(self.resolutions)))
        for resolution, following in pairwise(self.resolutions):
            if resolution == following:
                raise InputError(f"--resolution names {resolution} twice; once is right")
        for resolution in self.resolutions:
            if not 1 <= resolution <= MAX_RESOLUTION:
                raise InputError(f"--resolution must be in 1..{MAX_RESOLUTION}, got {resolution}")
        if not self.resolutions:
            raise InputError("--resolution needs at least one number of pixels, got none")
        if self.layout is not None and not self.layout.has_void and self.crop in ("pad", "center_wide"):
            raise InputError(f"--crop {self.crop} leaves pixels of no class: with layouts it needs --void")
        require_one_of(self, crop=CROPS, resize_filter=FILTERS, alpha=ALPHAS, encoding=ENCODINGS)

    @property
    def raw_bytes(self) -> int:
        """Bytes of one image's pixels, all resolutions together."""
        return sum(3 * resolution**2 for resolution in self.resolutions)


@dataclass(frozen=True)
class Header:
    """What a prepared set says of itself."""

    num_images: int
    recipe: Recipe
    label_names: list[str] | None = None  # label number -> name; None: no labels
    attributes: dict[str, str] = field(default_factory=dict)  # column -> int | float | bool | str | list
    content_hash: str = ""  # SHA-256, hexadecimal

    def to_dict(self) -> dict[str, Any]:
        """Flat and self-describing, for JSON; `layout` only where there are layouts, as in the first version of the format."""
        found = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "num_images": self.num_images,
            "channels": 3,
            **dataclasses.asdict(self.recipe),
            "label_names": self.label_names,
            "attributes": self.attributes,
            "content_hash": self.content_hash,
        }
        return found if self.recipe.layout is not None else {key: value for key, value in found.items() if key != "layout"}

    def with_hash(self, chain: bytes) -> "Header":
        """The same header, sealed over the records whose chain this is."""
        fields = {key: value for key, value in self.to_dict().items() if key != "content_hash"}
        return dataclasses.replace(self, content_hash=hashlib.sha256(to_json(fields) + chain).hexdigest())


def header_from_json(data: bytes, where: str) -> Header:
    """Read `.header`; InputError naming `where` when it is damaged or of another format or version."""
    with reading(where, _KIND):
        values = json.loads(data)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        version = values["format_version"]
    if version != FORMAT_VERSION:
        remedy = "update sarigan" if isinstance(version, int) and version > FORMAT_VERSION else "prepare it again"
        raise InputError(f"{where}: format version {version}, this version of sarigan reads {FORMAT_VERSION}; {remedy}")
    with reading(where, _KIND):
        recipe = {f.name: values[f.name] for f in dataclasses.fields(Recipe) if f.name != "layout"}
        names, attributes = values["label_names"], values["attributes"]
        if type(values["num_images"]) is not int or not 1 <= values["num_images"] <= MAX_IMAGES:
            raise ValueError(f"num_images {values['num_images']!r}")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError("label_names are no list of names")
        if not isinstance(attributes, dict) or not isinstance(values["content_hash"], str):
            raise ValueError("attributes or content_hash are of another kind")
        try:
            layout = None if values.get("layout") is None else LayoutRecipe(**values["layout"])
            made = Recipe(**recipe | {"resolutions": tuple(recipe["resolutions"]), "layout": layout})
        except InputError as error:
            raise ValueError(error) from None
        return Header(values["num_images"], made, names, attributes, values["content_hash"])


def json_object(data: bytes, where: str, kind: str = "record of a prepared image set") -> dict[str, Any]:
    """A record that is a JSON object; InputError naming `where` when it is anything else."""
    with reading(where, kind):
        values = json.loads(data)
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__} where an object is right")
        return values


def image_key(index: int, resolution: int) -> bytes:
    """Key of an image's pixels."""
    return b"%08d/%05d" % (index, resolution)


def layout_key(index: int, resolution: int) -> bytes:
    """Key of an image's layout; sorts after its pixels."""
    return b"%08d/%05d.layout" % (index, resolution)


def info_key(index: int) -> bytes:
    """Key of an image's name, label and attributes; sorts after its pixels."""
    return b"%08d/info" % index


def extend_chain(chain: bytes, key: bytes, record_digest: bytes) -> bytes:
    """c_{i+1} from c_i and the SHA-256 of record i."""
    return hashlib.sha256(chain + key + record_digest).digest()


def to_json(values: Any) -> bytes:
    """Canonical: sorted keys, no spaces, ASCII."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


def encode(image: Image.Image, encoding: str) -> bytes:
    """The record of an RGB picture of R x R pixels."""
    if encoding == "raw":
        return np.asarray(image).transpose(2, 0, 1).tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=0, method=_WEBP_EFFORT)
    return buffer.getvalue()


def encode_layout(layout: np.ndarray, edges: np.ndarray | None = None) -> bytes:
    """The record of classes [R,R] and edges [R,R], 0 or 1."""
    values = layout.astype("<u2") if edges is None else layout.astype("<u2") | (edges.astype("<u2") << 15)
    return zlib.compress(values.tobytes(), 1)


def decode_layout(record: bytes | memoryview, resolution: int, recipe: LayoutRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Classes int64 [R,R], and edges uint8 [R,R]. ValueError when the record is none of this recipe."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(record, 2 * resolution**2)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    values = np.frombuffer(data, "<u2").reshape(resolution, resolution)
    layout, edges = (values & (_EDGE - 1)).astype(np.int64), (values >> 15).astype(np.uint8)
    if int(layout.max()) >= recipe.num_classes + recipe.has_void:
        raise ValueError(f"class {int(layout.max())} of {recipe.num_classes}")
    return layout, edges


def decode(record: bytes | memoryview, resolution: int, encoding: str) -> np.ndarray:
    """uint8 [3,R,R], a copy of its own. ValueError or OSError when the record is no such picture."""
    if encoding == "raw":
        return np.frombuffer(record, np.uint8).reshape(3, resolution, resolution).copy()
    with Image.open(io.BytesIO(record), formats=("WEBP",)) as picture:
        pixels = np.asarray(picture)
    if pixels.shape != (resolution, resolution, 3):
        raise ValueError(f"pixels are {pixels.shape}, not {(resolution, resolution, 3)}")
    return np.array(pixels.transpose(2, 0, 1), order="C")
