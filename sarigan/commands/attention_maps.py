"""What each semantic group responds to (docs/editing.md): SariGAN Fig. 3, a sheet a layer.

sarigan attention_maps runs/quickstart
sarigan attention_maps runs/quickstart --layers 16x16.up --absolute --seeds 0-5
For models of avatars every group is labelled with the part it matches best; `--parts masks.npz` brings other masks.
"""

import argparse
import logging
from pathlib import Path

from sarigan.analysis.part_iou import best_labels, doubt, layer_features, layer_part_iou, masks_of, parts_named
from sarigan.commands.options import add_sampling_options, parse_layers, require_at_least, sampling_of, settle_output
from sarigan.device import resolve_device
from sarigan.editing.rendering import render
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import exit_on_input_error
from sarigan.files.paths import output_folder
from sarigan.pretrained import data_name, load_generator_and_record
from sarigan.visualization.attention_maps import attention_sheet

log = logging.getLogger(__name__)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw what the semantic groups of each layer respond to.")
    add_sampling_options(parser)
    parser.add_argument("--layers", default="all", help="names separated by commas, or all")
    parser.add_argument("--seeds", default="0-7", help="images to show; default 0-7")
    parser.add_argument("--absolute", action="store_true", help="mean absolute feature instead of the paper's mean feature")
    parser.add_argument(
        "--parts",
        default="auto",
        help="auto: the segmenter of avatars for models of avatars, else none; none; avatars; FILE.npz with masks",
    )
    parser.add_argument("--part-images", type=int, default=64, help="images (seeds 0, 1, ...) the parts are matched on")
    parser.add_argument("--permutations", type=int, default=200, help="of channels, that a match is compared with; default 200")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/attention_maps-SETTINGS")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(settle_output(options, "attention_maps")):
        seeds, sampling = parse_seeds(options.seeds), sampling_of(options)
        require_at_least(options, 2, "part_images", "permutations")
        generator, record = load_generator_and_record(options.checkpoint, resolve_device(options.device, "--device"))
        layers = parse_layers(options.layers, generator)
        parts, masks = parts_named(options.parts, data_name(record)), None
        if parts is None and options.parts == "auto":
            log.warning(f"groups are not named: {options.checkpoint} was not trained on avatars, and --parts brings no masks")
        if parts is not None:
            if warning := doubt(parts, data_name(record)):
                log.warning(f"warning: {warning}")
            latents = sampling.latents(generator, range(options.part_images))
            images = render(generator, latents, "fixed", batch_size=sampling.batch_size)
            masks = masks_of(parts, images)
            features = layer_features(generator, layers, latents, sampling.batch_size)
        for layer in layers:
            labels, note = None, ""
            if masks is not None:
                iou = layer_part_iou(generator, layer, features[layer], masks, options.permutations, show_progress=True)
                labels = best_labels(iou, masks.names)
                best, nulls = iou.best, "permutations"
                seen = f"psi {options.truncation:g}, {options.part_images} images, {options.permutations} {nulls}"
                note = "Beside each group: the part its mean absolute feature matches best, and their IoU"
                note += f" ({seen}; {masks.source})."
                least = f", {text}" if (text := best.least_p(nulls)) else ""
                print(
                    f"{layer}: mean best part IoU {best.score:.3f};"
                    f" random groups {best.null_mean:.3f} +- {best.null_deviation:.3f}"
                    f" (z {best.z:+.1f}, p {best.p:.3f}{least}; {seen}); groups: "
                    + ", ".join(f"{group} {text}" for group, text in labels.items())
                )
            path = options.output / f"{layer}.png"
            attention_sheet(generator, sampling, seeds, layer, options.absolute, labels, note).save(path)
            print(path)
