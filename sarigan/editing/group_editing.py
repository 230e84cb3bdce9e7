"""Edits of one group's codes as families over an amount, maps of what they change (SariGAN Fig. 4-5), and style mixing.

A family is a function amount -> Intervention. What a latent gives: another image's code to move to, or a principal
direction of z_i over many latents. Legend: n_i channels of the group.

Style mixing gives a row's image part of the control of a column's: the latents of a range of resolutions (Karras et al. 2019,
Fig. 3), w_h or w_z in every layer, or z_i and/or h_i of chosen groups of chosen layers (SariGAN sec. 4.2).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import latents_of_seeds
from sarigan.errors import InputError
from sarigan.layers.intervention import Edit, Intervention, check_place, group_code
from sarigan.models.generator import Generator

RANGES = ("coarse", "middle", "fine")
HALVES = ("h", "z")
Family = Callable[[float], Intervention]

NUM_DIRECTION_LATENTS = 4096


def scaling(layer: str, group: int, code: str) -> Family:
    """amount * code. Of z_i only the sign shows: Eq. 5 divides by its length."""
    return lambda amount: Intervention(layer, group, code, "scale", amount)


@torch.no_grad()
def toward(generator: Generator, sampling: Sampling, layer: str, group: int, code: str, seed: int) -> Family:
    """From the image's own code (0) to that of a seed (1), and past it."""
    check_place(layer, group, generator.synthesis.num_groups())
    codes = generator.synthesis.layer_codes(sampling.latents(generator, [seed]))[layer]
    values = group_code(codes, group, code)[0]
    return lambda amount: Intervention(layer, group, code, "move", amount, values)


@torch.no_grad()
def principal_directions(
    generator: Generator, layer: str, group: int, code: str = "z", num_latents: int = NUM_DIRECTION_LATENTS
) -> tuple[Tensor, Tensor]:
    """Directions [K,n_i] of the code over the latents of seeds 0, 1, ..., longest first, and the share of variance of each.

    Every direction has the length of one standard deviation. Untruncated. K is at most n_i.
    """
    check_place(layer, group, generator.synthesis.num_groups())
    parts = []
    for start in range(0, num_latents, 512):
        latents = latents_of_seeds(generator, range(start, min(start + 512, num_latents)))
        parts.append(group_code(generator.synthesis.layer_codes(latents)[layer], group, code))
    values = torch.cat(parts).double()
    centred = values - values.mean(dim=0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    deviations = singular / (len(values) - 1) ** 0.5
    # The sign of a direction is arbitrary: its largest entry is made positive.
    peaks = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)) if directions.numel() else directions[:, :1]
    share = deviations.square() / deviations.square().sum().clamp_min(1e-30)
    return (directions * peaks.sign() * deviations[:, None]).to(generator.mean_latent), share.float()


def along(generator: Generator, layer: str, group: int, code: str, direction: int) -> Family:
    """Along a principal direction (0 is the first), in standard deviations. InputError for one that is not there."""
    directions, _ = principal_directions(generator, layer, group, code)
    if not 0 <= direction < len(directions):
        there = f"0 to {len(directions) - 1}" if len(directions) else "none: the group is empty"
        raise InputError(f"no direction {direction} of {code} of group {group} in {layer}; there are {there}")
    values = directions[direction]
    return lambda amount: Intervention(layer, group, code, "shift", amount, values)


def edited_images(
    generator: Generator, sampling: Sampling, latents: Tensor, seeds: Sequence[int], edits: Sequence[Sequence[Edit]]
) -> list[Tensor]:
    """For every set of edits, the images [N,3,R,R] of the latents [N,L,w_dim] under it."""
    return [sampling.render(generator, latents, seeds, edit) for edit in edits]


def difference_map(images: Tensor, edited: Tensor) -> Tensor:
    """Mean |edited - images| over samples and colours: [N,3,R,R] twice -> [R,R], in units of the range -1..1."""
    return (edited - images).abs().mean(dim=(0, 1))


def latent_range(generator: Generator, name: str) -> range:
    """coarse (4-8 px), middle (16-32 px), fine (64 px and up; below 64 px the last resolution alone), or `A-B`.

    Every resolution from 4 px has the same number of latents: two, or one with class-conditional norms. InputError for a
    range that is empty or not there.
    """
    num_latents = generator.num_latents
    each = num_latents // (generator.config.resolution.bit_length() - 2)
    fine = min(4 * each, num_latents - each)
    middle = min(2 * each, fine)
    ranges = {"coarse": range(middle), "middle": range(middle, fine), "fine": range(fine, num_latents)}
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
