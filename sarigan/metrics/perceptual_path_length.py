"""Perceptual path length (Karras et al. 2019, StyleGAN, sec. 4.1; `ppl2_wend` of Karras et al. 2020).

    E[ d(g(t), g(t + epsilon)) / epsilon^2 ],   g along slerp in z or lerp in w, t ~ U(0,1) (full) or t = 0 (end)

with the same noise on both images, the mean taken over what lies between the 1st and the 99th percentile.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.editing.seeds import slerp_direction
from sarigan.errors import InputError, require_at_least_1
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.feature_statistics import GeneratedImages
from sarigan.metrics.latent_sampling import broadcast_latent, gather_rows, latent_batches
from sarigan.models.feature_networks.perceptual import DISTANCES
from sarigan.models.generator import Generator
from sarigan.seeding import derive_seed

PATHS = ("z_full", "w_full", "z_end", "w_end")
LARGEST_SIDE = 256  # of the images that are compared


class Distance(Protocol):
    """Images a, b [N,3,H,W] in about -1..1 -> [N]. `suffix` marks, in a metric's name, what is not LPIPS."""

    name: str
    suffix: str

    def __call__(self, images_a: Tensor, images_b: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class PathLengthConfig:
    """The protocol. face_crop: rows 3/8 to 7/8 and columns 2/8 to 6/8, StyleGAN's choice for FFHQ and CelebA-HQ."""

    space: str = "w"
    sampling: str = "full"
    num_samples: int = 50_000
    epsilon: float = 1e-4
    face_crop: bool = False
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in {"space": ("z", "w"), "sampling": ("full", "end")}.items():
            if getattr(self, name) not in choices:
                raise InputError(f"path length: {name} must be {' or '.join(choices)}, got {getattr(self, name)!r}")
        require_at_least_1(self, "num_samples", "batch_size", prefix="path length: ")
        if not 0 < self.epsilon < 1:
            raise InputError(f"path length: epsilon must be between 0 and 1, got {self.epsilon}")


@dataclass(frozen=True)
class PathLength:
    """The filtered mean with its standard error, and the mean of all samples."""

    name: str  # ppl_w_full with LPIPS, ppl_w_full_efficientnet with that distance, ...
    value: float
    standard_error: float
    unfiltered: float
    num_kept: int
    num_samples: int


@torch.no_grad()
def perceptual_path_length(
    generator: Generator, distance: Distance, config: PathLengthConfig, advance: Callable[[int], None] = lambda count: None
) -> PathLength:
    """Path length of a generator without truncation; processes share the samples.

    `advance` hears of each batch of this process. Raises InputError for distances that are not finite.
    """
    second = GeneratedImages(generator, config.num_samples, derive_seed("second end", config.seed))
    positions: list[int] = []
    rows = []
    for batch in latent_batches(generator, config.num_samples, config.batch_size, config.seed):
        t = _times(batch.positions, config, batch.z)
        near, far = _latent_pair(generator, batch.z, second.z(batch.positions), batch.labels, t, config)
        # One call for both ends: the same noise, and the same kernels.
        noise = [None if x is None else torch.cat([x, x]) for x in batch.noise]
        images = generator.synthesize(broadcast_latent(generator, torch.cat([near, far])), noise).images
        a, b = compared_pixels(images, config.face_crop).chunk(2)
        rows.append(distance(a, b).double() / config.epsilon**2)
        positions += batch.positions
        advance(len(batch.positions))
    lengths = gather_rows(config.num_samples, positions, rows).numpy()
    if not np.isfinite(lengths).all():
        raise InputError(f"path length: the distance of sample {int(np.argmin(np.isfinite(lengths)))} is not finite")
    kept = between_percentiles(lengths)
    spread = float(kept.std(ddof=1)) / math.sqrt(len(kept)) if len(kept) > 1 else math.nan
    name = f"ppl_{config.space}_{config.sampling}{distance.suffix}"
    return PathLength(name, float(kept.mean()), spread, float(lengths.mean()), len(kept), len(lengths))


def between_percentiles(lengths: np.ndarray, low: float = 1, high: float = 99) -> np.ndarray:
    """What lies between two percentiles, each taken at the next sample outwards."""
    bounds = np.percentile(lengths, low, method="lower"), np.percentile(lengths, high, method="higher")
    return lengths[(lengths >= bounds[0]) & (lengths <= bounds[1])]


def compared_pixels(images: Tensor, face_crop: bool = False) -> Tensor:
    """[N,3,H,W] -> what the distance sees: the crop, then box averages until no side is longer than 256."""
    if face_crop:
        eighth = images.shape[2] // 8
        images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
    factor = images.shape[2] // LARGEST_SIDE
    return F.avg_pool2d(images, factor) if factor > 1 else images


def _times(positions: list[int], config: PathLengthConfig, like: Tensor) -> Tensor:
    if config.sampling == "end":
        return torch.zeros(len(positions), 1).to(like)
    source = torch.Generator()
    drawn = [torch.rand(1, generator=source.manual_seed(derive_seed("t", config.seed, p))) for p in positions]
    return torch.stack(drawn).to(like)


def _latent_pair(
    generator: Generator, first: Tensor, second: Tensor, labels: Tensor | None, t: Tensor, config: PathLengthConfig
) -> tuple[Tensor, Tensor]:
    """w at t and at t + epsilon, along a path within a class."""
    both_labels = None if labels is None else torch.cat([labels, labels])
    later = t + config.epsilon
    if config.space == "z":
        points = torch.cat([slerp_direction(first, second, t), slerp_direction(first, second, later)])
        both = generator.mapping(points, both_labels)
        return both.chunk(2)[0], both.chunk(2)[1]
    start, end = generator.mapping(torch.cat([first, second]), both_labels).chunk(2)
    return torch.lerp(start, end, t), torch.lerp(start, end, later)


class PerceptualPathLength(Metric):
    """PPL along the paths asked for, in LPIPS or under the name of another distance."""

    needs_data = False
    needs_generator = True
    name = "ppl"
    summary = "perceptual path length in z and w, full and end; LPIPS where its weights are, others under other names"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--ppl-paths", default=",".join(PATHS), help=f"of {', '.join(PATHS)}, with commas between; default all")
        add("--ppl-samples", type=int, help="pairs of images a path; default --num-images")
        add("--ppl-distance", choices=DISTANCES, default="auto", help="auto: lpips where its weights are, else efficientnet")
        add("--ppl-face-crop", action="store_true", help="compare the middle of the picture, as StyleGAN did for faces")

    def check(self, evaluation: Evaluation) -> None:
        for path in self._paths(evaluation):
            self._config(evaluation, path)
        _ = evaluation.perceptual_distance

    def compute(self, evaluation: Evaluation) -> Iterator[Result]:
        distance = evaluation.perceptual_distance
        for path in self._paths(evaluation):
            config = self._config(evaluation, path)
            advance = evaluation.progress(config.num_samples, f"path length, {path}")
            found = perceptual_path_length(evaluation.require_generator(), distance, config, advance)
            crop = ", middle of the picture" if config.face_crop else ""
            protocol = f"{distance.name} over epsilon^2 = 1e-8, {found.num_kept} of {found.num_samples} pairs kept{crop}"
            details = {"unfiltered": found.unfiltered}
            yield Result(found.name, found.value, protocol, found.standard_error, distance.name, distance.sha256, details)

    def _paths(self, evaluation: Evaluation) -> list[str]:
        paths = [path for path in (evaluation.arguments.get("ppl_paths") or ",".join(PATHS)).split(",") if path]
        for path in paths:
            if path not in PATHS:
                raise InputError(f"--ppl-paths must be of {', '.join(PATHS)}, got {path!r}")
        return paths

    def _config(self, evaluation: Evaluation, path: str) -> PathLengthConfig:
        space, sampling = path.split("_")
        count = evaluation.arguments.get("ppl_samples") or evaluation.config.num_images
        crop = bool(evaluation.arguments.get("ppl_face_crop"))
        batch = max(1, evaluation.config.batch_size // 2)
        return PathLengthConfig(space, sampling, count, face_crop=crop, batch_size=batch, seed=evaluation.config.seed)
