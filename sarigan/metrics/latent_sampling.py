"""Latents and noise for metrics of a generator: position i is a function of (seed, i) alone.

Processes take batches in turn and join their results by position, so the number of processes changes no result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.metrics.feature_statistics import GeneratedImages
from sarigan.models.generator import Generator


@dataclass
class LatentBatch:
    """The random inputs of some positions."""

    positions: list[int]
    z: Tensor  # [N,z_dim]
    noise: list[Tensor | None]  # one [N,1,H,W] a layer


def latent_batches(generator: Generator, count: int, batch_size: int, seed: int) -> Iterator[LatentBatch]:
    """This process's share of the positions 0..count-1."""
    source = GeneratedImages(generator, count, seed)
    for start in range(0, count, batch_size)[distributed.rank() :: distributed.world_size()]:
        positions = list(range(start, min(start + batch_size, count)))
        yield LatentBatch(positions, source.z(positions), source.noise(positions))


def all_latents(generator: Generator, count: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """z [count,z_dim] and w [count,w_dim] of all positions on the CPU, on every process."""
    source = GeneratedImages(generator, count, seed)
    z, w = [], []
    with torch.no_grad():
        for start in range(0, count, batch_size):
            z.append(source.z(range(start, min(start + batch_size, count))))
            w.append(generator.mapping(z[-1]))
    return torch.cat(z).cpu(), torch.cat(w).cpu()


def broadcast_latent(generator: Generator, w: Tensor) -> Tensor:
    """w [N,w_dim] for every layer: [N,L,w_dim]."""
    return w[:, None].expand(-1, generator.num_latents, -1)


def gather_rows(count: int, positions: Sequence[int], rows: Sequence[Tensor]) -> Tensor:
    """Rows that each process found for its own positions -> [count,...] in order, float64 on the CPU, on every process."""
    width = gather_width(rows)
    table = torch.zeros(count, *width, dtype=torch.float64)
    if len(rows):
        table[torch.as_tensor(list(positions))] = torch.cat([row.detach().cpu().double() for row in rows])
    if distributed.world_size() == 1:
        return table
    device = torch.device("cuda") if torch.distributed.get_backend() == "nccl" else torch.device("cpu")
    return distributed.sum_over_ranks(table.to(device)).cpu()


def gather_width(rows: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape of one row; a process without rows receives it from the others."""
    return max(distributed.gather_objects(tuple(rows[0].shape[1:]) if len(rows) else ()))
