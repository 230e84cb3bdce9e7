"""Ways between latents: great circles of z, straight lines of w."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.editing.seeds import latents_of_seeds, z_of_seeds
from sarigan.errors import InputError
from sarigan.models.generator import Generator

SPACES = ("z", "w")


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
