"""Images from a trained generator: files, a grid, a truncation sweep, an interpolation film, latents (docs/editing.md).

sarigan generate runs/quickstart --seeds 0-31 --output out/samples
sarigan generate runs/quickstart --seeds 0-3 --truncation-sweep 0,0.3,0.5,0.7,1 --output out/sweep
sarigan generate runs/quickstart --seeds 0-3 --video out/walk.mp4 --space z
sarigan generate runs/quickstart --seeds 0-15 --edit out/edits.json --output out/edited
"""

import argparse
from pathlib import Path

from sarigan.commands.options import (
    add_sampling_options,
    load_all_edits,
    opened_generator,
    parse_numbers,
    sampling_of,
)
from sarigan.editing.edit_file import load_latents, save_latents
from sarigan.editing.seeds import SPACES, LatentSource, parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_file, output_folder
from sarigan.visualization.samples import check_video_path, save_interpolation, save_samples, truncation_sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make images with a trained generator.")
    add_sampling_options(parser, noise="fresh", psi=1.0)
    parser.add_argument("--seeds", default="0-31", help="such as 0-31 or 1,5,9; default 0-31")
    parser.add_argument("--latents", type=Path, metavar="FILE.npz", help="these latents instead of seeds, untruncated")
    parser.add_argument("--edit", type=Path, action="append", default=[], metavar="FILE.json", help="apply edits (repeatable)")
    parser.add_argument("--output", type=Path, default=Path("out/samples"), metavar="DIR")
    parser.add_argument("--columns", type=int, help="of the grid; default: about square")
    parser.add_argument("--grid-only", action="store_true", help="no file for every image")
    parser.add_argument("--save-latents", action="store_true", help="latents.npz with the latents and the groups of channels")
    parser.add_argument("--truncation-sweep", metavar="PSI,...", help="only a sheet of the seeds at these psi")
    parser.add_argument("--video", type=Path, metavar="FILE", help="only a film (.mp4, .gif) through the seeds and back")
    parser.add_argument("--space", choices=SPACES, default="w", help="of the film: great circles of z or lines of w")
    parser.add_argument("--frames", type=int, default=60, help="of the film from one seed to the next")
    return parser.parse_args()


def main() -> None:
    options = parse()
    place = output_file(options.video, "--video") if options.video else output_folder(options.output)
    with exit_on_input_error(), place:
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
        if psis:
            path = options.output / "truncation.png"
            truncation_sheet(generator, sampling, seeds, psis, edits).save(path)
            print(path)
            return
        latents: LatentSource = sampling.latents_on_demand(generator, seeds)
        names: list[int] | None = seeds
        if options.latents:
            latents, names = load_latents(options.latents, generator), None
        print(save_samples(generator, sampling, latents, names, edits, options.output, options.columns, options.grid_only))
        if options.save_latents:
            save_latents(options.output / "latents.npz", generator, latents, names, sampling.batch_size)
            print(options.output / "latents.npz")
