"""Sheets of edits, each with its difference maps: one group over many images, many groups over one image.

The strip of a projection shows how it came near its target.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.editing.edit_file import group_channels
from sarigan.editing.group_editing import Family, difference_map, edited_images
from sarigan.editing.rendering import Sampling
from sarigan.files.picture import decode_picture, read_picture
from sarigan.files.reading import reading
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import Picture, heat_pictures, make_sheet, pictures

_CHANGE = (
    "Change at {:g}: mean |difference| over colours and images, each row on a scale of its own, whose bright end is the"
    " number beside it, in grey levels of 255."
)
_SHARED = (
    "Change at {:g}: mean |difference| over colours and images, one scale for all rows; beside each row its largest value,"
    " in grey levels of 255."
)
VISIBLE = 2.0  # grey levels of 255: smaller changes of flat colour are hard to see


def group_sheet(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], family: Family, amounts: Sequence[float], caption: str
) -> Image.Image:
    """One group: a row an image, a column an amount, and where the last amount changes the image."""
    latents = sampling.latents(generator, seeds)
    (originals,) = edited_images(generator, sampling, latents, seeds, [[]])
    columns = edited_images(generator, sampling, latents, seeds, [[family(amount)] for amount in amounts])
    maps = (columns[-1] - originals).abs().mean(dim=1)
    heat, scale = heat_pictures(maps.numpy())
    cells = [pictures(originals), *(pictures(column) for column in columns), heat]
    edit = family(amounts[-1])
    return make_sheet(
        list(zip(*cells, strict=True)),
        ["image", *(f"{amount:g}" for amount in amounts), "change"],
        [f"seed {seed}" for seed in seeds],
        f"Edit: {edit.code} of group {edit.group} in {edit.layer}"
        f" ({len(group_channels(generator, edit.layer, edit.group))} channels)",
        f"{caption} {_scale_text(scale, amounts[-1])}",
        separate_columns=[0, len(amounts)],
        color_bar=("change 0", f"{scale * 127.5:.1f} grey levels of 255"),
    )


def groups_overview(
    generator: Generator,
    sampling: Sampling,
    seeds: Sequence[int],
    families: dict[int, Family],
    amounts: Sequence[float],
    caption: str,
    labels: dict[int, str] | None = None,
) -> Image.Image:
    """Many groups of a layer: a row a group, a column an amount for the first seed, and the mean change over all seeds."""
    latents = sampling.latents(generator, seeds)
    (originals,) = edited_images(generator, sampling, latents, seeds, [[]])
    rows: list[list[Picture]] = []
    maps: list[Tensor] = []
    names: list[str] = []
    (image,) = pictures(originals[:1])
    for group, family in families.items():
        edits = [[family(amount)] for amount in amounts]
        first = edited_images(generator, sampling, latents[:1], seeds[:1], edits)
        (last,) = edited_images(generator, sampling, latents, seeds, edits[-1:])
        maps.append(difference_map(originals, last))
        rows.append([image, *(pictures(column)[0] for column in first)])
        size = len(group_channels(generator, family(0.0).layer, group))
        label = f"\nresponds to: {labels[group]}" if labels and group in labels else ""
        names.append(f"group {group} ({size} ch){label}\n{_visible(float(maps[-1].max()) * 127.5)}")
    edit = next(iter(families.values()))(amounts[-1])
    heat, largest = heat_pictures(torch.stack(maps).numpy())
    return make_sheet(
        [[*row, picture] for row, picture in zip(rows, heat, strict=True)],
        [f"seed {seeds[0]}", *(f"{amount:g}" for amount in amounts), f"change, {len(seeds)} images"],
        names,
        f"Edits: {edit.code}_i of the groups in {edit.layer}",
        f"{caption} {_SHARED.format(amounts[-1])}",
        separate_columns=[0, len(amounts)],
        color_bar=("change 0", f"{largest * 127.5:.1f} grey levels of 255"),
    )


def _visible(change: float) -> str:
    """What a row says of the largest change, in grey levels."""
    return f"largest change {change:.1f}" + ("" if change >= VISIBLE else ": not visible")


# (latents [N,L,D], seeds, amount) -> images [N,3,R,R]
Change = Callable[[Tensor, Sequence[int], float], Tensor]


def changes_sheet(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], changes: dict[str, Change], amounts: Sequence[float],
    title: str, caption: str,
) -> Image.Image:  # fmt: skip
    """A row a change of the first seed's image, a column an amount, and the mean change over all seeds at the last one."""
    latents = sampling.latents(generator, seeds)
    (originals,) = edited_images(generator, sampling, latents, seeds, [[]])
    strips = []
    for name, change in changes.items():
        first = [change(latents[:1], seeds[:1], amount) for amount in amounts]
        strips.append(Strip(name, first, difference_map(originals, change(latents, seeds, amounts[-1]))))
    return strip_sheet(originals[:1], f"seed {seeds[0]}", strips, amounts, len(seeds), title, caption)


@dataclass(frozen=True)
class Strip:
    """One row of a sheet of sweeps: an image [1,3,R,R] at every amount, and the mean change [R,R] at the last one."""

    name: str
    images: Sequence[Tensor]
    change: Tensor


def strip_sheet(
    original: Tensor, heading: str, strips: Sequence[Strip], amounts: Sequence[float], num_images: int, title: str, caption: str
) -> Image.Image:
    """A row a strip: the unedited image [1,3,R,R], the edited ones, and where the last amount changes `num_images` images."""
    (picture,) = pictures(original)
    rows: list[list[Picture]] = [
        [picture, *(pictures(image)[0] for image in strip.images), heat_pictures(strip.change[None].numpy())[0][0]]
        for strip in strips
    ]
    return make_sheet(
        rows,
        [heading, *(f"{amount:g}" for amount in amounts), f"change, {num_images} images"],
        [f"{strip.name}\nlargest change {float(strip.change.max()) * 127.5:.1f}" for strip in strips],
        title,
        f"{caption} {_CHANGE.format(amounts[-1])}",
        separate_columns=[0, len(amounts)],
    )


def _scale_text(scale: float, amount: float) -> str:
    return f"Change at {amount:g}: mean |difference| over colours; pale yellow is {scale * 127.5:.1f} of 255 grey levels."


def load_target(path: Path, resolution: int) -> Tensor:
    """An image file -> [1,3,R,R] in -1..1: centre square, resized. InputError naming the file."""
    with reading(path, "image"):
        picture, _ = decode_picture(read_picture(path))
    return target_of(picture, resolution)


def target_of(picture: Image.Image, resolution: int) -> Tensor:
    """An RGB picture -> [1,3,R,R] in -1..1: centre square, resized."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side != resolution:
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1


def projection_strip(target: Tensor, progress: list[tuple[str, Tensor]], image: Tensor, caption: str) -> Image.Image:
    """The target, images along the way, the result, and their difference. All [1,3,R,R]."""
    heat, largest = heat_pictures((image - target).abs().mean(dim=1).cpu().numpy())
    cells = [*(pictures(shown)[0] for shown in (target, *(step for _, step in progress), image)), *heat]
    heads = ["target", *(name for name, _ in progress), "result", "difference"]
    text = f"{caption} Pale yellow in the difference is {largest * 127.5:.0f} of 255 grey levels."
    return make_sheet([cells], heads, (), "Projection", text, separate_columns=[0, len(progress), len(progress) + 1])
