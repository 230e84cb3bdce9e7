"""Style-mixing sheets (docs/editing.md): rows keep their image, columns lend part of theirs.

sarigan style_mixing runs/quickstart --rows 0-3 --columns 8-13                           # coarse, middle, fine
sarigan style_mixing runs/quickstart --mode halves                                       # w_h, then w_z
sarigan style_mixing runs/quickstart --mode groups --layer 16x16.up --groups 0,3 --codes z,h
sarigan style_mixing avatars_32 --mode noise --rows 0-3                                  # same w, other noise
sarigan style_mixing runs/classes --class black --column-class red                       # across classes
"""

import argparse
import dataclasses
from pathlib import Path

from sarigan.commands.options import (
    add_sampling_options,
    opened_generator,
    parse_groups,
    parse_layers,
    sampling_of,
    settle_output,
)
from sarigan.editing.group_editing import HALVES, RANGES
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder
from sarigan.visualization.mixing import groups_sheet, halves_sheets, layer_sheets, noise_sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Mix the styles of two sets of images.")
    add_sampling_options(parser)
    parser.add_argument("--rows", default="0-3", help="seeds that keep their image; default 0-3")
    parser.add_argument("--columns", default="8-13", help="seeds that lend a part; default 8-13")
    parser.add_argument("--column-class", action="append", default=[], metavar="NAME", help="of the columns; default as rows")
    parser.add_argument("--mode", choices=("layers", "halves", "groups", "noise"), default="layers")
    parser.add_argument("--layers", default=",".join(RANGES), help="with mode layers: coarse, middle, fine, or latents as 2-5")
    parser.add_argument("--layer", default="all", help="with mode groups: names of layers, separated by commas, or all")
    parser.add_argument("--groups", default="all", help="with mode groups: numbers, or all")
    parser.add_argument("--codes", default="z,h", help="with mode groups: z, h or z,h")
    parser.add_argument("--noises", type=int, default=64, help="with mode noise: how many")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/style_mixing-SETTINGS")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(settle_output(options, "style_mixing")):
        rows, columns = parse_seeds(options.rows), parse_seeds(options.columns)
        codes = options.codes.split(",")
        if not set(codes) <= set(HALVES):
            raise InputError(f"--codes is z, h or z,h, got {options.codes!r}")
        if options.noises < 4:
            raise InputError(f"--noises must be at least 4, got {options.noises}")
        sampling = sampling_of(options)
        generator = opened_generator(options)
        for name in options.column_class:
            generator.class_index(name)
        lender = dataclasses.replace(sampling, classes=tuple(options.column_class) or sampling.classes)
        if options.mode == "layers":
            sheets = layer_sheets(generator, sampling, rows, columns, options.layers.split(","), lender)
        elif options.mode == "halves":
            sheets = halves_sheets(generator, sampling, rows, columns, lender)
        elif options.mode == "groups":
            layers = parse_layers(options.layer, generator)
            places = [(layer, group) for layer in layers for group in parse_groups(options.groups, layer, generator)]
            sheets = {"groups": groups_sheet(generator, sampling, rows, columns, places, codes, lender)}
        else:
            sheets = {"noise": noise_sheet(generator, sampling, rows, options.noises)}
        for name, sheet in sheets.items():
            sheet.save(options.output / f"{name}.png")
            print(options.output / f"{name}.png")
