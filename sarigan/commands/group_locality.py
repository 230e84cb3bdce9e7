"""Are a layer's groups more local than chance? Part IoU and edit lift against random groups (docs/editing.md).

sarigan group_locality runs/quickstart --layer 16x16.up
Writes <run>/analysis/locality-<layer>.json, which `sarigan report` shows.
"""

import argparse
import json
from pathlib import Path

from sarigan import load_generator
from sarigan.analysis.locality_report import measure_locality
from sarigan.analysis.part_iou import masks_of
from sarigan.commands.options import add_sampling_options, parse_layers, require_at_least_2, sampling_of
from sarigan.device import resolve_device
from sarigan.editing.rendering import render
from sarigan.errors import exit_on_input_error
from sarigan.files.paths import output_folder
from sarigan.pretrained import find_source, results_folder


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
    require_at_least_2(options, "images", "permutations", "partitions")
    generator = load_generator(file, resolve_device(options.device, "--device"))
    layers = parse_layers(options.layer, generator)
    latents = sampling.latents(generator, range(options.images))
    images = render(generator, latents, "fixed", batch_size=sampling.batch_size)
    masks = masks_of(options.parts, images)
    for layer in layers:
        record = measure_locality(
            generator, layer, latents, masks, options.permutations, options.partitions, sampling.batch_size, True
        )
        path = folder / f"locality-{layer}.json"
        path.write_text(json.dumps({"checkpoint": file.name, **record}, indent=1) + "\n")
        print(record["verdict"])
        print(path)
