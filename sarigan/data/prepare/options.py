"""How a set is prepared, apart from what decides its pixels."""

import math
from dataclasses import dataclass

from sarigan.data.lmdb.format import MAX_IMAGES
from sarigan.errors import InputError


@dataclass(frozen=True)
class Options:
    """Validated when made; `InputError` names the option of scripts/prepare_data.py."""

    num_workers: int = 2
    strict: bool = False  # stop at the first broken picture
    max_broken: int = 1000  # stop when there are more
    num_images: int | None = None  # at most so many, the first by key; None: all
    attributes: str | None = None  # a CSV or JSON file | none | None: the source's own
    labels: str = "auto"  # auto | none
    seed: int = 0  # of avatars
    commit_megabytes: float = 16.0  # of records that a kill can cost, at most

    def __post_init__(self) -> None:
        if not (math.isfinite(self.commit_megabytes) and self.commit_megabytes > 0):
            raise InputError(f"--commit-megabytes must be a positive number, got {self.commit_megabytes}")
        for option, value, lowest in (
            ("--workers", self.num_workers, 1),
            ("--max-broken", self.max_broken, 0),
            ("--num-images", self.num_images, 1),
        ):
            if value is not None and value < lowest:
                raise InputError(f"{option} must be at least {lowest}, got {value}")
        if self.num_images is not None and self.num_images > MAX_IMAGES:
            raise InputError(f"--num-images must be at most {MAX_IMAGES}, all that a set can hold, got {self.num_images}")
        if self.labels not in ("auto", "none"):
            raise InputError(f"--labels must be auto or none, got {self.labels!r}")
