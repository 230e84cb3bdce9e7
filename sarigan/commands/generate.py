"""Images from a trained generator: files, a grid, a truncation sweep, an interpolation film, latents (docs/editing.md).

sarigan generate runs/quickstart --seeds 0-31
sarigan generate runs/quickstart --seeds 0-3 --truncation-sweep 0,0.3,0.5,0.7,1 --output out/sweep
sarigan generate runs/quickstart --seeds 0-3 --video out/walk.mp4 --space z
sarigan generate runs/quickstart --seeds 0-15 --edit out/edits.json --output out/edited

Of a generator with classes (docs/classes.md): images of one, all classes, a film from class to class
sarigan generate runs/classes --class blonde --output out/blonde
sarigan generate runs/classes --class-sheet --seeds 0-7 --output out/classes
sarigan generate runs/classes --seeds 3,3 --class black --class red --video out/black_red.gif
"""

import argparse
from pathlib import Path
from typing import Any

from sarigan.commands.options import (
    add_sampling_options,
    load_all_edits,
    opened_generator,
    parse_numbers,
    sampling_of,
    settle_output,
)
from sarigan.editing.edit_file import load_latents, save_latents
from sarigan.editing.seeds import SPACES, LatentSource, parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_file, output_folder
from sarigan.files.run_record import git_commit
from sarigan.pretrained import source_hash
from sarigan.visualization.samples import check_video_path, class_sheet, save_interpolation, save_samples, truncation_sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make images with a trained generator.")
    add_sampling_options(parser, noise="fresh", psi=1.0)
    parser.add_argument("--seeds", default="0-31", help="such as 0-31 or 1,5,9; default 0-31")
    parser.add_argument("--latents", type=Path, metavar="FILE.npz", help="these latents instead of seeds, untruncated")
    parser.add_argument("--edit", type=Path, action="append", default=[], metavar="FILE.json", help="apply edits (repeatable)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/samples-SETTINGS")
    parser.add_argument("--columns", type=int, help="of the grid; default: about square")
    parser.add_argument("--grid-only", action="store_true", help="no file for every image")
    parser.add_argument("--save-latents", action="store_true", help="latents.npz with the latents and the groups of channels")
    parser.add_argument("--class-sheet", action="store_true", help="only a sheet of the seeds in every class")
    parser.add_argument("--truncation-sweep", metavar="PSI,...", help="only a sheet of the seeds at these psi")
    parser.add_argument("--video", type=Path, metavar="FILE", help="only a film (.mp4, .gif) through the seeds and back")
    parser.add_argument("--space", choices=SPACES, default="w", help="of the film: great circles of z or lines of w")
    parser.add_argument("--frames", type=int, default=60, help="of the film from one seed to the next")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_file(options.video, "--video") if options.video else output_folder(_place(options)):
        seeds = parse_seeds(options.seeds)
        sampling = sampling_of(options)
        if options.columns is not None and options.columns < 1:
            raise InputError(f"--columns must be at least 1, got {options.columns}")
        psis = parse_numbers(options.truncation_sweep, "--truncation-sweep") if options.truncation_sweep else []
        if options.video:
            check_video_path(options.video)
        generator = opened_generator(options)
        edits = load_all_edits(options.edit, generator)
        if options.video:
            save_interpolation(generator, sampling, seeds, options.space, options.frames, edits, options.video)
            print(options.video)
            return
        if options.class_sheet:
            class_sheet(generator, sampling, seeds).save(options.output / "classes.png")
            print(options.output / "classes.png")
            return
        if psis:
            path = options.output / "truncation.png"
            truncation_sheet(generator, sampling, seeds, psis, edits).save(path)
            print(path)
            return
        latents: LatentSource = sampling.latents_on_demand(generator, seeds)
        names: list[int] | None = seeds
        if options.latents and options.classes:
            raise InputError("--class is the class of seeds; the latents of --latents have theirs")
        if options.latents:
            latents, names = load_latents(options.latents, generator), None
        origin, shape = _origin(options), (options.columns, options.grid_only)
        print(save_samples(generator, sampling, latents, names, edits, options.output, *shape, origin))
        if options.save_latents:
            save_latents(options.output / "latents.npz", generator, latents, names, sampling.batch_size)
            print(options.output / "latents.npz")


def _place(options: argparse.Namespace) -> Path:
    return settle_output(options, "samples", *(path.stem for path in [options.latents, *options.edit] if path))


def _origin(options: argparse.Namespace) -> dict[str, Any]:
    """What every PNG file says of where it comes from, but for its seed."""
    origin = {
        "checkpoint": source_hash(options.checkpoint),
        "psi": options.truncation,
        "psi_cutoff": options.truncation_cutoff,
        "noise": options.noise,
        "latents": options.latents and options.latents.name,
        "edits": [path.name for path in options.edit] or None,
        "commit": git_commit(),
    }
    return {name: value for name, value in origin.items() if value is not None}
