"""What turns a source's pictures into a prepared set's images: everything that decides a pixel, by name."""

from dataclasses import dataclass
from itertools import pairwise

from sarigan.data.lmdb.encodings import ENCODINGS
from sarigan.errors import InputError

CROPS = ("none", "center", "center_wide", "pad")
FILTERS = ("lanczos", "box")
ALPHAS = ("white", "black", "drop", "refuse")
MAX_RESOLUTION = 8192


@dataclass(frozen=True)
class Recipe:
    """Validated when made; `InputError` names the field.

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
        for name, choices in {
            "crop": CROPS, "resize_filter": FILTERS, "alpha": ALPHAS, "encoding": ENCODINGS,
        }.items():  # fmt: skip
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @property
    def raw_bytes(self) -> int:
        """Bytes of one image's pixels, all resolutions together."""
        return sum(3 * resolution**2 for resolution in self.resolutions)
