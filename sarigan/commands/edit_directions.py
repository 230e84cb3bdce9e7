"""Ungrouped edits, of any StyleGAN2 or SariGAN, imported ones too (docs/editing.md): directions of w, or single channels.

sarigan edit_directions MODEL                                       # the strongest directions of all layers (SeFa)
sarigan edit_directions MODEL --layers 8x8.up,8x8.conv --directions 0-9
sarigan edit_directions MODEL --layers 16x16.up --channels 3,17     # entries of the layer's style vector (StyleSpace)
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from sarigan.commands.options import add_sampling_options, opened_generator, parse_numbers, sampling_of, settle_output
from sarigan.editing.factorization import factorized_directions, latent_deviation, moved
from sarigan.editing.group_editing import edited_images
from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder
from sarigan.layers.intervention import ChannelEdit
from sarigan.models.generator import Generator
from sarigan.visualization.editing import Change, changes_sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Edit along directions of w in closed form, or single channels of a style.")
    add_sampling_options(parser)
    parser.add_argument("--layers", default="all", help="whose styles are factorised and edited: all, or 8x8.up,8x8.conv")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--directions", default="0-4", metavar="K", help="strongest first; default 0-4")
    kind.add_argument("--channels", metavar="J", help="shift these entries of the style vector of the one layer instead")
    parser.add_argument("--amounts", default="-3,-1.5,1.5,3", help="in deviations of w along a direction, or added to an entry")
    parser.add_argument("--seeds", default="0-5", help="images to edit; default 0-5")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/edit_directions-SETTINGS")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(settle_output(options, "edit_directions")):
        seeds, amounts = parse_seeds(options.seeds), parse_numbers(options.amounts, "--amounts")
        sampling = sampling_of(options)
        generator = opened_generator(options)
        layers = None if options.layers == "all" else options.layers.split(",")
        if options.channels:
            changes, caption = _channels(generator, sampling, layers, parse_seeds(options.channels))
        else:
            changes, caption = _directions(generator, sampling, layers, parse_seeds(options.directions))
        stem = "channels" if options.channels else "directions"
        path = options.output / f"{stem}_{options.layers.replace(',', '_')}.png"
        title = f"Edits: {stem} of {'all layers' if layers is None else options.layers}"
        changes_sheet(generator, sampling, seeds, changes, amounts, title, caption).save(path)
        print(path)


def _directions(
    generator: Generator, sampling: Sampling, layers: list[str] | None, numbers: list[int]
) -> tuple[dict[str, Change], str]:
    directions, _ = factorized_directions(generator, layers)
    if max(numbers) >= len(directions):
        raise InputError(f"--directions must be numbers from 0 to {len(directions) - 1}, got {max(numbers)}")
    deviations = latent_deviation(generator, directions[numbers])

    def change(number: int, unit: float, latents: Tensor, seeds: Sequence[int], amount: float) -> Tensor:
        there = moved(generator, latents, directions[number], amount * unit, layers)
        return edited_images(generator, sampling, there, seeds, [[]])[0]

    found: dict[str, Change] = {f"direction {k}": partial(change, k, unit) for k, unit in zip(numbers, deviations, strict=True)}
    return found, "Columns: deviations of w along a direction (closed-form factorisation, SeFa)."


def _channels(
    generator: Generator, sampling: Sampling, layers: list[str] | None, numbers: list[int]
) -> tuple[dict[str, Change], str]:
    if layers is None or len(layers) != 1:
        raise InputError(f"--channels needs one layer in --layers, got {','.join(layers) if layers else 'all'}")

    def change(channel: int, latents: Tensor, seeds: Sequence[int], amount: float) -> Tensor:
        return edited_images(generator, sampling, latents, seeds, [[ChannelEdit(layers[0], channel, "shift", amount)]])[0]

    return {f"channel {j}": partial(change, j) for j in numbers}, "Columns: what is added to the entry of the style vector."
