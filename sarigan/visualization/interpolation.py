"""Ways between latents: great circles of z, straight lines of w."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.visualization.seeds import latents_of_seeds, z_of_seeds

SPACES = ("z", "w")


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Along the great circle between the directions of a and b [N,D], their lengths interpolated linearly."""
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    u, v = a / length_a, b / length_b
    angle = torch.acos((u * v).sum(dim=1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    near = sine < 1e-4  # parallel: the straight line is the same, and 0/0 is avoided
    safe = torch.where(near, 1.0, sine)
    curved = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / safe
    return torch.where(near, torch.lerp(u, v, t), curved) * torch.lerp(length_a, length_b, t)


def interpolated_latents(
    generator: Generator,
    seeds: Sequence[int],
    frames_per_seed: int,
    space: str = "w",
    psi: float = 1.0,
    cutoff: int | None = None,
) -> Tensor:
    """Latents [F,L,w_dim] through the seeds in order and back to the first; F = seeds * frames_per_seed.

    space z: slerp, then mapping. space w: straight lines between latents. InputError for fewer than two seeds.
    """
    if space not in SPACES:
        raise InputError(f"interpolation must be in one of {', '.join(SPACES)}, got {space!r}")
    if len(seeds) < 2:
        raise InputError(f"an interpolation needs at least two seeds, got {len(seeds)}")
    if frames_per_seed < 1:
        raise InputError(f"frames per seed must be at least 1, got {frames_per_seed}")
    points = z_of_seeds(generator, seeds) if space == "z" else latents_of_seeds(generator, seeds, psi, cutoff)
    following = points.roll(-1, dims=0)
    frames = []
    for step in range(frames_per_seed):
        t = step / frames_per_seed
        frames.append(slerp(points, following, t) if space == "z" else torch.lerp(points, following, t))
    path = torch.stack(frames, dim=1).flatten(end_dim=1)
    if space == "w":
        return path
    with torch.no_grad():
        latents = generator.latents(path)
        return latents if psi == 1.0 else generator.truncate(latents, psi, cutoff)
