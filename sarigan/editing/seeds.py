"""Latents and noise as functions of a seed, the same whatever else is in the batch; and ways from seed to seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.device import to_device
from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.seeding import MAX_SEED, check_seed, derive_seed

SPACES = ("z", "w")
MAX_COUNT = 100_000
NOISES = ("fixed", "fresh", "none")


def parse_seeds(text: str) -> list[int]:
    """`3`, `1,5,9`, `0-15`, `0-3,8` -> seeds in that order. InputError for anything else and for seeds out of range."""
    seeds: list[int] = []
    for part in text.split(","):
        ends = part.strip().split("-")
        if not 1 <= len(ends) <= 2 or not all(re.fullmatch(r"\s*[0-9]{1,20}\s*", end) for end in ends):
            raise InputError(f"seeds are numbers and ranges such as 1,5,9 or 0-15 (0 to {MAX_SEED}), got {text!r}")
        first, last = int(ends[0]), int(ends[-1])
        check_seed("seeds", max(first, last))
        if last < first:
            raise InputError(f"a range of seeds runs upwards, got {part.strip()!r}")
        if len(seeds) + last - first >= MAX_COUNT:
            raise InputError(f"at most {MAX_COUNT} seeds at once, got {text!r}")
        seeds.extend(range(first, last + 1))
    return seeds


def z_of_seeds(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """z [N,z_dim], standard normal, row i a function of seed i alone."""
    rows = [torch.randn(generator.config.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(generator.mean_latent)


def latents_of_seeds(generator: Generator, seeds: Sequence[int], psi: float = 1.0, cutoff: int | None = None) -> Tensor:
    """Latents [N,L,w_dim], truncated as `Generator.forward` does."""
    with torch.no_grad():
        latents = generator.latents(z_of_seeds(generator, seeds))
        return latents if psi == 1.0 else generator.truncate(latents, psi, cutoff)


class LatentSource(Protocol):
    """Latents [N,L,w_dim] that are asked for a slice at a time: a tensor, or made as they are needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class SeedLatents:
    """`latents_of_seeds`, each slice made when it is asked for."""

    generator: Generator
    seeds: Sequence[int]
    psi: float = 1.0
    cutoff: int | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, part: slice) -> Tensor:
        return latents_of_seeds(self.generator, self.seeds[part], self.psi, self.cutoff)


def noise_of_seeds(generator: Generator, kind: str, seeds: Sequence[int]) -> list[Tensor | None]:
    """One [N,1,H,W] a layer: `fixed` (one for all seeds), `fresh` (a function of each seed) or `none`."""
    if kind not in NOISES:
        raise InputError(f"noise must be one of {', '.join(NOISES)}, got {kind!r}")
    like = generator.mean_latent.new_zeros(len(seeds), 1, 1)
    if kind != "fresh":
        return generator.draw_noise(like, kind)
    shapes = generator.synthesis.noise_shapes()
    sources = [torch.Generator().manual_seed(derive_seed(seed, "noise")) for seed in seeds]
    # All layers of a seed, then the next seed.
    maps = [[torch.randn(1, h, w, generator=source) for h, w in shapes] for source in sources]
    return [*to_device([torch.stack(layer) for layer in zip(*maps, strict=True)], like.device, like.dtype)]


def slerp_direction(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Along the great circle from a/|a| to b/|b| (Shoemake 1985): [N,D], [N,D] -> [N,D] of unit length. t: one, or [N,1]."""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    cosine = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1)
    # A unit vector at right angles to a, in the plane of both.
    c = F.normalize(b - cosine * a, dim=1)
    angle = t * torch.acos(cosine)
    return F.normalize(a * torch.cos(angle) + c * torch.sin(angle), dim=1)


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """`slerp_direction`, with lengths interpolated linearly from |a| to |b|."""
    return slerp_direction(a, b, t) * torch.lerp(a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True), t)


@dataclass(frozen=True)
class LatentPath:
    """Latents [F,L,w_dim] through the seeds in order and back to the first; F = seeds * frames_per_seed. Each slice is made
    when it is asked for.

    space z: slerp, then mapping. space w: straight lines between latents. InputError for fewer than two seeds.
    """

    generator: Generator
    seeds: Sequence[int]
    frames_per_seed: int
    space: str = "w"
    psi: float = 1.0
    cutoff: int | None = None

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise InputError(f"interpolation must be in one of {', '.join(SPACES)}, got {self.space!r}")
        if len(self.seeds) < 2:
            raise InputError(f"an interpolation needs at least two seeds, got {len(self.seeds)}")
        if self.frames_per_seed < 1:
            raise InputError(f"frames per seed must be at least 1, got {self.frames_per_seed}")

    def __len__(self) -> int:
        return len(self.seeds) * self.frames_per_seed

    @torch.no_grad()
    def __getitem__(self, part: slice) -> Tensor:
        steps = [divmod(frame, self.frames_per_seed) for frame in range(len(self))[part]]
        ends = [(index, (index + 1) % len(self.seeds)) for index, _ in steps]
        used = sorted({index for pair in ends for index in pair})
        seeds = [self.seeds[index] for index in used]
        in_z = self.space == "z"
        points = z_of_seeds(self.generator, seeds) if in_z else latents_of_seeds(self.generator, seeds, self.psi, self.cutoff)
        a, b = (points[[used.index(pair[end]) for pair in ends]] for end in (0, 1))
        t = torch.tensor([step / self.frames_per_seed for _, step in steps]).to(points).reshape(-1, *[1] * (points.ndim - 1))
        if not in_z:
            return torch.lerp(a, b, t)
        latents = self.generator.latents(slerp(a, b, t))
        return latents if self.psi == 1.0 else self.generator.truncate(latents, self.psi, self.cutoff)
