"""One self-contained HTML page that shows a run: python scripts/report.py runs/quickstart (docs/editing.md).

Writes <run>/report.html: samples over time, curves, metrics, what groups respond to, edits, style mixing, configuration.
"""

import argparse
from pathlib import Path

from sarigan import load_generator
from sarigan.analysis.group_labels import best_labels, layer_features, layer_part_iou
from sarigan.analysis.part_masks import segmented_avatars
from sarigan.device import resolve_device
from sarigan.editing.rendering import render
from sarigan.editing.sampling import Sampling
from sarigan.errors import exit_on_input_error
from sarigan.files.checkpoint import resolve_checkpoint
from sarigan.files.output_path import output_file
from sarigan.files.run_record import read_run
from sarigan.models.generator import Generator
from sarigan.visualization.report.writing import write_report

NUM_PART_IMAGES = 64
NUM_PERMUTATIONS = 200


def part_labels(generator: Generator, sampling: Sampling) -> tuple[dict[str, dict[int, str]], str]:
    """Which part of an avatar each group matches best, by layer, and a note for the caption."""
    layers = list(generator.synthesis.num_groups())
    if not layers:
        return {}, ""
    latents = sampling.latents(generator, range(NUM_PART_IMAGES))
    masks = segmented_avatars(render(generator, latents, "fixed"))
    features = layer_features(generator, layers, latents)
    results = {name: layer_part_iou(generator, name, features[name], masks, NUM_PERMUTATIONS) for name in layers}
    note = "Beside each group: the part its mean absolute feature matches best, and their IoU"
    note += f" ({masks.source}); * random groups do as well."
    return {name: best_labels(result, masks.names) for name, result in results.items()}, note


def main() -> None:
    parser = argparse.ArgumentParser(description="Write one HTML page that shows a run.")
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="default <run>/report.html")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    with exit_on_input_error():
        run = read_run(options.run)
        file = resolve_checkpoint(options.run)
        path = options.output or options.run / "report.html"
        with output_file(path):
            generator = load_generator(file, resolve_device(options.device, "--device"))
            sampling = Sampling()
            labels, note = part_labels(generator, sampling) if run.config["data"]["name"] == "avatars" else ({}, "")
            size = write_report(run, generator, file.name, path, labels, note, sampling)
        print(f"report: {path.resolve().as_uri()} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
