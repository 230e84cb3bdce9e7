"""Edit the codes of semantic groups (docs/editing.md): z_i as in SariGAN Fig. 4, h_i as in Fig. 5.

sarigan edit_groups runs/quickstart --layer 16x16.up                            # all groups, z_i toward seed 1
sarigan edit_groups runs/quickstart --layer 16x16.up --groups 3 --seeds 0-5 --toward 12 --amounts 0,0.5,1,1.5
sarigan edit_groups runs/quickstart --layer 16x16.up --groups 3 --direction 0 --amounts=-3,-1.5,0,1.5,3
sarigan edit_groups runs/quickstart --layer 16x16.up --code h --scale --amounts 0,0.5,1,2,4
sarigan edit_groups runs/quickstart --layer 16x16.up --groups 3 --code h --scale --amounts 3 --save out/edits.json
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

from sarigan.commands.options import (
    add_sampling_options,
    opened_generator,
    parse_groups,
    parse_numbers,
    sampling_of,
    settle_output,
)
from sarigan.editing.edit_file import save_edits
from sarigan.editing.group_editing import along, scaling, toward
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import exit_on_input_error
from sarigan.files.paths import output_file, output_folder
from sarigan.visualization.editing import group_sheet, groups_overview


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Edit the codes of semantic groups.")
    add_sampling_options(parser)
    parser.add_argument("--layer", required=True, help="a grouped layer, such as 16x16.up")
    parser.add_argument("--groups", default="all", help="numbers, or all that hold channels")
    parser.add_argument("--code", choices=("z", "h"), default="z", help="intra-group z_i or inter-group h_i")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--toward", default="1", metavar="SEED", help="move to (1) and past this image's code; default seed 1")
    kind.add_argument("--direction", type=int, metavar="K", help="along principal direction K of the code, in deviations")
    kind.add_argument("--scale", action="store_true", help="multiply the code")
    parser.add_argument("--amounts", help="default 0.5,1,2,4; with --direction -3..3; with --scale 0,0.5,2,4")
    parser.add_argument("--seeds", default="0-5", help="images to edit; default 0-5")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/edit_groups-SETTINGS")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="the edits at the last amount, for generate.py --edit")
    return parser.parse_args()


def main() -> None:
    options = parse()
    saved = output_file(options.save, "--save") if options.save else nullcontext()
    with exit_on_input_error(), saved, output_folder(settle_output(options, "edit_groups")):
        seeds = parse_seeds(options.seeds)
        (target, *_) = parse_seeds(options.toward)
        sampling = sampling_of(options)
        default = "0,0.5,2,4" if options.scale else "-3,-1.5,1.5,3" if options.direction is not None else "0.5,1,2,4"
        amounts = parse_numbers(options.amounts or default, "--amounts")
        generator = opened_generator(options)
        groups = parse_groups(options.groups, options.layer, generator)
        place = (options.layer, options.code)
        if options.scale:
            families = {group: scaling(place[0], group, place[1]) for group in groups}
            name, caption = "scale", "Columns: the code times this factor."
        elif options.direction is not None:
            families = {group: along(generator, place[0], group, place[1], options.direction) for group in groups}
            name, caption = f"direction{options.direction}", "Columns: standard deviations along a principal direction."
        else:
            families = {group: toward(generator, sampling, place[0], group, place[1], target) for group in groups}
            name, caption = f"seed{target}", f"Columns: 0 keeps the code, 1 is that of seed {target}, more goes past it."
        stem = f"{options.layer}_{options.code}_{name}"
        unchanged = 1.0 if options.scale else 0.0  # is the image itself, which stands in the first column
        shown = [amount for amount in amounts if amount != unchanged] or amounts
        if len(groups) > 1:
            path = options.output / f"{stem}.png"
            groups_overview(generator, sampling, seeds, families, shown, caption).save(path)
        else:
            path = options.output / f"{stem}_group{groups[0]}.png"
            group_sheet(generator, sampling, seeds, families[groups[0]], shown, caption).save(path)
        print(path)
        if options.save:
            save_edits([family(amounts[-1]) for family in families.values()], generator, options.save)
            print(options.save)
