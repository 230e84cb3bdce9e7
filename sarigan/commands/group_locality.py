"""Are a layer's groups more local than chance? Part IoU and edit lift against random groups (docs/editing.md).

sarigan group_locality runs/quickstart --layer 16x16.up
Writes <run>/analysis/locality-<layer>.json, which `sarigan report` shows.
"""

import argparse
import json
from pathlib import Path

from sarigan import load_generator
from sarigan.analysis.locality_report import measure_locality
from sarigan.analysis.part_masks import load_masks, segmented_avatars
from sarigan.device import resolve_device
from sarigan.editing.rendering import render
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.output_path import output_folder
from sarigan.pretrained import find_source, results_folder
from sarigan.visualization.command_line import add_sampling_options, parse_layers, sampling_of


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how local the groups of a layer are, against random groups.")
    add_sampling_options(parser, psi=1.0)
    parser.add_argument("--layer", required=True, help="names of grouped layers, separated by commas, or all")
    parser.add_argument("--images", type=int, default=64, help="seeds 0, 1, ...; default 64")
    parser.add_argument("--permutations", type=int, default=1000, help="of channels, for part IoU; default 1000")
    parser.add_argument("--partitions", type=int, default=20, help="random partitions that are edited too; default 20")
    parser.add_argument("--parts", default="avatars", help="avatars: its segmenter; FILE.npz with masks and names")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default <run>/analysis")
    options = parser.parse_args()
    with exit_on_input_error():
        file = find_source(options.checkpoint)
        folder = options.output or results_folder(options.checkpoint) / "analysis"
        with output_folder(folder):
            measure(options, file, folder)


def measure(options: argparse.Namespace, file: Path, folder: Path) -> None:
    """A record for each of the layers."""
    sampling = sampling_of(options)
    for name in ("images", "permutations", "partitions"):
        if getattr(options, name) < 2:
            raise InputError(f"--{name} must be at least 2, got {getattr(options, name)}")
    generator = load_generator(file, resolve_device(options.device, "--device"))
    layers = parse_layers(options.layer, generator)
    latents = sampling.latents(generator, range(options.images))
    images = render(generator, latents, "fixed", batch_size=sampling.batch_size)
    size = generator.config.resolution
    masks = segmented_avatars(images) if options.parts == "avatars" else load_masks(Path(options.parts), len(images), size)
    for layer in layers:
        record = measure_locality(
            generator, layer, latents, masks, options.permutations, options.partitions, sampling.batch_size, True
        )
        path = folder / f"locality-{layer}.json"
        path.write_text(json.dumps({"checkpoint": file.name, **record}, indent=1) + "\n")
        print(record["verdict"])
        print(path)
