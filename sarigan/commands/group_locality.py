"""Are a layer's groups more local than chance? Part IoU and edit lift against random groups (docs/editing.md).

sarigan group_locality runs/quickstart --layer 16x16.up
Writes <run>/analysis/locality-<layer>.json, which `sarigan report` shows.
"""

import argparse
import json
import logging
from pathlib import Path

from sarigan.analysis.locality_report import measure_locality
from sarigan.analysis.part_iou import doubt, masks_of, parts_named
from sarigan.commands.options import add_sampling_options, parse_layers, require_at_least, sampling_of
from sarigan.device import resolve_device
from sarigan.editing.rendering import render
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder, replace_text
from sarigan.pretrained import data_name, find_source, load_generator_and_record, results_folder

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how local the groups of a layer are, against random groups.")
    add_sampling_options(parser, psi=1.0)
    parser.add_argument("--layer", required=True, help="names of grouped layers, separated by commas, or all")
    parser.add_argument("--images", type=int, default=64, help="seeds 0, 1, ...; default 64")
    parser.add_argument("--permutations", type=int, default=1000, help="of channels, for part IoU; default 1000")
    parser.add_argument("--partitions", type=int, default=20, help="random partitions that are edited too; default 20")
    parser.add_argument(
        "--parts", default="auto",
        help="auto: the segmenter of avatars, for models of avatars alone; avatars: for any model; FILE.npz with masks, names",
    )  # fmt: skip
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
    require_at_least(options, 2, "images", "permutations", "partitions")
    generator, origin = load_generator_and_record(file, resolve_device(options.device, "--device"))
    trained_on = data_name(origin)
    parts = parts_named(options.parts, trained_on)
    if parts is None:
        raise InputError(
            f"--parts: nothing here names the parts of {file.name}, a model of {trained_on or 'unknown data'}; give masks of"
            " its images (--parts FILE.npz), or --parts avatars to have the segmenter of avatars read them all the same"
        )
    warning = doubt(parts, trained_on)
    if warning:
        log.warning(f"warning: {warning}")
    layers = parse_layers(options.layer, generator)
    latents = sampling.latents(generator, range(options.images))
    images = render(generator, latents, "fixed", batch_size=sampling.batch_size)
    masks = masks_of(parts, images)
    for layer in layers:
        record = measure_locality(
            generator, layer, latents, masks, options.permutations, options.partitions, sampling.batch_size, True
        )
        path = folder / f"locality-{layer}.json"
        replace_text(path, json.dumps({"checkpoint": file.name, "trained_on": trained_on, **record}, indent=1) + "\n")
        print(record["verdict"])
        print(path)
