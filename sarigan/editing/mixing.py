"""Style mixing: one image with part of the control of each column's image.

By layer range (Karras et al. 2019, Fig. 3): the latents of a range of resolutions come from the column.
By code half: w_h of one image, w_z of the other, in every layer.
By semantic group (SariGAN sec. 4.2): z_i and/or h_i of chosen groups of chosen layers come from the column.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.layers.intervention import Intervention, check_place, group_code
from sarigan.models.generator import Generator

RANGES = ("coarse", "middle", "fine")
HALVES = ("h", "z")


def latent_range(generator: Generator, name: str) -> range:
    """coarse (4-8 px), middle (16-32 px), fine (64 px and up; below 64 px the last resolution alone), or `A-B`.

    Resolution 2^l counts as latents 2l-4 and 2l-3. InputError for a range that is empty or not there.
    """
    num_latents = generator.num_latents
    fine = min(8, num_latents - 2)
    ranges = {"coarse": range(min(4, fine)), "middle": range(min(4, fine), fine), "fine": range(fine, num_latents)}
    if name in ranges:
        if not ranges[name]:
            raise InputError(f"--layers: a generator of {generator.config.resolution} px has no {name} layers of its own")
        return ranges[name]
    ends = name.split("-")
    if not 1 <= len(ends) <= 2 or not all(end.isdecimal() for end in ends):
        raise InputError(f"--layers is {', '.join(RANGES)} or latents such as 2-5 (0 to {num_latents - 1}), got {name!r}")
    found = range(int(ends[0]), int(ends[-1]) + 1)
    if not found or found[-1] >= num_latents:
        raise InputError(f"--layers: latents are 0 to {num_latents - 1}, got {name!r}")
    return found


def mix_layers(rows: Tensor, columns: Tensor, layers: range) -> Tensor:
    """rows, columns [N,L,w_dim] -> rows with the columns' latents in `layers`."""
    mixed = rows.clone()
    mixed[:, list(layers)] = columns[:, list(layers)]
    return mixed


def mix_halves(generator: Generator, rows: Tensor, columns: Tensor, half: str) -> Tensor:
    """rows, columns [N,L,w_dim] -> rows with the columns' w_h (`h`) or w_z (`z`) in all layers. InputError without groups."""
    if generator.config.grouping.kind == "none":
        raise InputError("this generator has no groups (generator.grouping.kind=none), so its w has no halves to mix")
    d = generator.config.style_dim
    return torch.cat([columns[..., :d], rows[..., d:]] if half == "h" else [rows[..., :d], columns[..., d:]], dim=-1)


def group_swaps(
    generator: Generator, columns: Tensor, places: Sequence[tuple[str, int]], codes: Sequence[str]
) -> list[Intervention]:
    """Edits that give every sample the codes (`z`, `h`) that a row of columns [N,L,w_dim] has at (layer, group)."""
    for layer, group in places:
        check_place(layer, group, generator.synthesis.num_groups())
    found = generator.synthesis.layer_codes(columns)
    return [
        Intervention(layer, group, code, "move", 1.0, group_code(found[layer], group, code))
        for layer, group in places
        for code in codes
    ]
