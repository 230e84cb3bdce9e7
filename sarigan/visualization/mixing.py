"""Sheets of style mixing: by layer range, by half of w, by group; and of stochastic variation (Karras et al. 2019, Fig. 4)."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from sarigan.editing.group_editing import HALVES, group_swaps, latent_range, mix_halves, mix_layers
from sarigan.editing.rendering import Sampling, render, rendered_batches
from sarigan.errors import InputError
from sarigan.layers.intervention import Intervention
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import heat_pictures, make_sheet, pictures


def mixing_sheet(
    generator: Generator,
    sampling: Sampling,
    row_seeds: Sequence[int],
    column_seeds: Sequence[int],
    title: str,
    caption: str,
    layers: range | None = None,
    half: str | None = None,
    places: Sequence[tuple[str, int]] = (),
    codes: Sequence[str] = HALVES,
    lender: Sampling | None = None,
) -> Image.Image:
    """Rows keep everything but what `layers`, `half` or the groups at `places` name, which comes from the column.

    lender: how the columns' latents are made, such as those of another class; None: as the rows'.
    """
    lender = lender or sampling
    rows, columns = sampling.latents(generator, row_seeds), lender.latents(generator, column_seeds)
    row_images = pictures(sampling.render(generator, rows, row_seeds))
    column_images = pictures(sampling.render(generator, columns, column_seeds))
    a = rows.repeat_interleave(len(columns), dim=0)
    b = columns.repeat(len(rows), 1, 1)
    seeds = [seed for seed in row_seeds for _ in column_seeds]
    edits: list[Intervention] = []
    with torch.no_grad():
        if layers is not None:
            a = mix_layers(a, b, layers)
        if half is not None:
            a = mix_halves(generator, a, b, half)
        if places:
            edits = group_swaps(generator, b, places, codes)
    mixed = pictures(sampling.render(generator, a, seeds, edits, "mixing"))
    count = len(columns)
    table = [[None, *column_images]]
    table += [[image, *mixed[i * count : (i + 1) * count]] for i, image in enumerate(row_images)]
    return make_sheet(
        table,
        ["", *lender.headings(generator, column_seeds)],
        ["", *sampling.headings(generator, row_seeds)],
        title,
        caption,
        separate_columns=[0],
        separate_rows=[0],
    )


def layer_sheets(
    generator: Generator, sampling: Sampling, rows: Sequence[int], columns: Sequence[int], names: Sequence[str],
    lender: Sampling | None = None,
) -> dict[str, Image.Image]:  # fmt: skip
    """One sheet a range of `latent_range`, by name."""
    sheets = {}
    for name in names:
        layers = latent_range(generator, name)
        caption = f"Latents {layers[0]} to {layers[-1]} of {generator.num_latents} are the column's, the others the row's."
        title = f"Style mixing: {name}"
        sheets[name] = mixing_sheet(generator, sampling, rows, columns, title, caption, layers=layers, lender=lender)
    return sheets


def halves_sheets(
    generator: Generator, sampling: Sampling, rows: Sequence[int], columns: Sequence[int], lender: Sampling | None = None
) -> dict[str, Image.Image]:
    """Two sheets: w_h from the column, and w_z from the column."""
    kinds = {"h": ("inter-group codes h", "w_h"), "z": ("intra-group codes z", "w_z")}
    return {
        f"half_{half}": mixing_sheet(
            generator, sampling, rows, columns, f"Style mixing: {name} of the column",
            f"{part} of all layers comes from the column, the other half of w from the row.", half=half, lender=lender,
        )
        for half, (name, part) in kinds.items()
    }  # fmt: skip


def groups_sheet(
    generator: Generator, sampling: Sampling, rows: Sequence[int], columns: Sequence[int],
    places: Sequence[tuple[str, int]], codes: Sequence[str], lender: Sampling | None = None,
) -> Image.Image:  # fmt: skip
    """One sheet: z_i and/or h_i at (layer, group) from the column."""
    layers = list(dict.fromkeys(layer for layer, _ in places))
    text = "; ".join(f"{layer}: {_ranges([group for name, group in places if name == layer])}" for layer in layers)
    what = " and ".join(f"{code}_i" for code in codes)
    return mixing_sheet(
        generator, sampling, rows, columns, f"Style mixing: {what} of groups",
        f"{what} of these groups come from the column - {text}.", places=places, codes=codes, lender=lender,
    )  # fmt: skip


def _ranges(numbers: Sequence[int]) -> str:
    """[0,1,2,5] -> `0-2,5`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


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
    """A row a seed: some images that differ in their noise alone, the image without noise, the standard deviation.

    InputError for a generator whose layers add no noise.
    """
    if not generator.synthesis.noise_shapes():
        raise InputError("the layers of this generator add no noise, so no images of it differ in their noise alone")
    rows, deviations = [], []
    for seed in seeds:
        images, deviation = noise_deviation(generator, sampling, seed, num_noises, num_shown)
        plain = render(generator, sampling.latents(generator, [seed]), "none")
        rows.append([*pictures(images), *pictures(plain)])
        deviations.append(deviation.numpy())
    heat, largest = heat_pictures(np.stack(deviations))
    for row, picture in zip(rows, heat, strict=True):
        row.append(picture)
    return make_sheet(
        rows,
        [*(f"noise {index}" for index in range(num_shown)), "no noise", "deviation"],
        [f"seed {seed}" for seed in seeds],
        "Stochastic variation",
        f"One w a row. Right: standard deviation over {num_noises} noises; black is 0, pale yellow is"
        f" {largest * 127.5:.1f} of 255 grey levels.",
        separate_columns=[num_shown - 1, num_shown],
    )
