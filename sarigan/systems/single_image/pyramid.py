"""The sizes of a picture's scales (Shaham et al. 2019, SinGAN; Hinz et al. 2021, ConSinGAN, Eq. 4). Scale 0 is the coarsest."""

import math
from dataclasses import dataclass

from sarigan.errors import InputError

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class PyramidConfig:
    """How many scales there are, and how large."""

    min_size: int = 25  # px, shorter side of the coarsest scale
    max_size: int = 250  # px, longer side of the finest; a larger picture is shrunk to it
    ratio: float = 0.75  # wanted between neighbouring scales; the actual one makes the coarsest scale fit
    num_scales: int | None = None  # a number: so many, their sizes spaced as ConSinGAN's, denser where they are coarse
    height: int = 0  # px, of the picture file; filled in from it
    width: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InputError(f"pyramid.ratio must be between 0 and 1, got {self.ratio}")
        if not 4 <= self.min_size <= self.max_size <= 8192:
            raise InputError(
                f"pyramid.min_size and max_size must be 4 <= min_size <= max_size <= 8192, got {self.min_size}, {self.max_size}"
            )
        if self.num_scales is not None and not 1 <= self.num_scales <= 64:
            raise InputError(f"pyramid.num_scales must be 1 to 64, or null, got {self.num_scales}")

    def finest(self, height: int, width: int) -> Size:
        """The size of the finest scale of a picture; InputError when its shorter side does not exceed the coarsest scale's."""
        scale = min(self.max_size / max(height, width), 1)
        size = math.ceil(height * scale), math.ceil(width * scale)
        if min(size) <= self.min_size and self.num_scales != 1:
            shrunk = "" if scale == 1 else f", {size[1]}x{size[0]} px within pyramid.max_size={self.max_size},"
            raise InputError(
                f"a picture of {width}x{height} px{shrunk} is too small for the pyramid: its shorter side must be more than"
                f" pyramid.min_size={self.min_size}"
            )
        return size

    def sizes(self) -> list[Size]:
        """Of all scales of the picture, coarsest first."""
        height, width = self.finest(self.height, self.width)
        spaced = self._spaced_evenly if self.num_scales is None else self._spaced_densely
        shares = spaced(min(height, width))
        return [(math.ceil(height * share), math.ceil(width * share)) for share in shares]

    def _spaced_evenly(self, shorter: int) -> list[float]:
        """r^K ... r^0, with r^K = min_size / shorter side and K the steps of `ratio` from the file's shorter side, plus one,
        minus those that shrinking has taken."""
        longer = max(self.height, self.width)
        steps = self._steps(self.min_size / min(self.height, self.width)) + 1 - self._steps(min(self.max_size / longer, 1))
        steps = max(1, steps)
        fitted = (self.min_size / shorter) ** (1 / steps)
        return [fitted ** (steps - level) for level in range(steps + 1)]

    def _steps(self, share: float) -> int:
        return math.ceil(math.log(share) / math.log(self.ratio))

    def _spaced_densely(self, shorter: int) -> list[float]:
        """ConSinGAN Eq. 4: share_i = r^((S - 1) / log S * log(S - i) + 1) for i < S = num_scales - 1, and 1."""
        assert self.num_scales is not None
        steps = self.num_scales - 1
        if steps == 0:
            return [1.0]
        fitted = (self.min_size / shorter) ** (1 / steps)
        slope = (steps - 1) / math.log(steps) if steps > 1 else 0.0
        return [fitted ** (slope * math.log(steps - level) + 1) for level in range(steps)] + [1.0]
