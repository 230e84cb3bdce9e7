"""Samples as files and a grid (SariGAN Fig. 6-7), a sheet over truncation, a film through latents."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from sarigan.editing.rendering import Sampling, rendered_batches
from sarigan.editing.seeds import LatentPath, LatentSource, latents_of_seeds, noise_of_seeds
from sarigan.layers.intervention import Intervention
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import make_sheet, pictures, save_grid
from sarigan.visualization.video import save_video

GRID_WIDTH = 1024  # small images are enlarged until the grid is about this wide
MAX_GRID_PIXELS = 2**26  # 1024 images of 256x256; a grid of more shows the first ones
log = logging.getLogger(__name__)


def save_samples(
    generator: Generator,
    sampling: Sampling,
    latents: LatentSource,
    seeds: Sequence[int] | None,
    edits: Sequence[Intervention],
    folder: Path,
    num_columns: int | None = None,
    grid_only: bool = False,
) -> Path:
    """<folder>/grid.png, and <folder>/images/<seed or position>.png in the generator's resolution; returns the grid's path.

    Images are saved batch by batch, and the grid shows as many as MAX_GRID_PIXELS holds: more images take no more memory.
    """
    names = seeds if seeds is not None else range(len(latents))
    kind = "seed" if seeds is not None else "latent"
    num_shown = min(len(latents), max(1, MAX_GRID_PIXELS // generator.config.resolution**2))
    if num_shown < len(latents):
        log.warning(f"{folder / 'grid.png'}: shows the first {num_shown} of {len(latents)} images")
    if not grid_only:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    shown, done = [], 0
    for images in map(to_uint8, sampling.batches(generator, latents, names, edits, "images")):
        if done < num_shown:
            shown.append(images[: num_shown - done])
        elif grid_only:
            break
        if not grid_only:
            for name, picture in zip(names[done : done + len(images)], pictures(images), strict=True):
                Image.fromarray(picture).save(folder / "images" / f"{kind}{name:06d}.png")
        done += len(images)
    save_grid(torch.cat(shown), folder / "grid.png", num_columns or whole_columns(num_shown), GRID_WIDTH)
    return folder / "grid.png"


def whole_columns(count: int) -> int | None:
    """The columns of an about square grid without empty cells; None where that would be more than twice as wide as high."""
    fitting = [columns for columns in range(1, count + 1) if count % columns == 0 and columns * columns >= count]
    return fitting[0] if fitting[0] ** 2 <= 2 * count else None


def truncation_sheet(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], psis: Sequence[float], edits: Sequence[Intervention] = ()
) -> Image.Image:
    """A row a seed, a column a psi, all with the same noise."""
    columns = []
    for psi in psis:
        latents = latents_of_seeds(generator, seeds, psi, sampling.truncation_cutoff)
        columns.append(pictures(sampling.render(generator, latents, seeds, edits)))
    return make_sheet(
        list(zip(*columns, strict=True)),
        [f"psi {psi:g}" for psi in psis],
        [f"seed {seed}" for seed in seeds],
        "Truncation",
        "w = mean + psi (w - mean): variety grows to the right.",
    )


def save_interpolation(
    generator: Generator,
    sampling: Sampling,
    seeds: Sequence[int],
    space: str,
    frames_per_seed: int,
    edits: Sequence[Intervention],
    path: Path,
) -> None:
    """A film through the seeds and back to the first. The noise stays that of the first seed, or it would flicker."""
    latents = LatentPath(generator, seeds, frames_per_seed, space, sampling.truncation_psi, sampling.truncation_cutoff)
    noise = noise_of_seeds(generator, sampling.noise, seeds[:1])
    batches = rendered_batches(generator, latents, noise, None, edits, sampling.batch_size, "frames")
    save_video((picture for images in map(to_uint8, batches) for picture in pictures(images)), path)
