"""Stochastic variation (Karras et al. 2019, Fig. 4): one w, many noises, and where the pixels differ."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from sarigan.editing.rendering import Sampling, render, rendered_batches
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import heat_colors, make_sheet, pictures


def noise_deviation(
    generator: Generator, sampling: Sampling, seed: int, num_noises: int, num_shown: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [num_shown or num_noises,3,R,R] of one w, and the per-pixel standard deviation [R,R] over num_noises.

    The mean over colours, in units of the images' range -1..1; the standard deviation is that of the sample (n - 1).
    """
    latents = sampling.latents(generator, [seed]).expand(num_noises, -1, -1)
    num_shown, shown = num_noises if num_shown is None else num_shown, []
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for images in rendered_batches(generator, latents, "fresh", range(num_noises), (), sampling.batch_size, "noises"):
        if count < num_shown:
            shown.append(images[: num_shown - count].clone())
        # The two parts' scatters, and that of their means (Chan et al. 1983).
        total, part_mean = count + len(images), images.double().mean(dim=0)
        between = (part_mean - mean).square() * count * len(images) / total
        scatter = scatter + (images.double() - part_mean).square().sum(dim=0) + between
        mean = mean + (part_mean - mean) * len(images) / total
        count = total
    return torch.cat(shown), (scatter / (num_noises - 1)).sqrt().mean(dim=0).float()


def noise_sheet(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], num_noises: int = 64, num_shown: int = 4
) -> Image.Image:
    """A row a seed: some images that differ in their noise alone, the image without noise, the standard deviation."""
    rows, deviations = [], []
    for seed in seeds:
        images, deviation = noise_deviation(generator, sampling, seed, num_noises, num_shown)
        plain = render(generator, sampling.latents(generator, [seed]), "none")
        rows.append([*pictures(images), *pictures(plain)])
        deviations.append(deviation.numpy())
    largest = max(float(np.max(map_)) for map_ in deviations)
    for row, map_ in zip(rows, deviations, strict=True):
        row.append(heat_colors(map_ / max(largest, 1e-12)))
    return make_sheet(
        rows,
        [*(f"noise {index}" for index in range(num_shown)), "no noise", "deviation"],
        [f"seed {seed}" for seed in seeds],
        "Stochastic variation",
        f"One w a row. Right: standard deviation over {num_noises} noises; black is 0, pale yellow is"
        f" {largest * 127.5:.1f} of 255 grey levels.",
        separate_columns=[num_shown - 1, num_shown],
    )
