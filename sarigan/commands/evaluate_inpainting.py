"""Compare inpainting models on the same held-out images with the same masks (docs/inpainting.md).

sarigan evaluate_inpainting runs/facades_64_sarigan runs/facades_64_stylegan2 --output out/comparison
Images and masks are those of the first model's `held_out`, unless named. Writes table.txt, scores.json and sheet.png.
"""

import argparse
from pathlib import Path

import torch

from sarigan.commands.options import add_distance_option
from sarigan.data.batch import to_signed_float
from sarigan.data.loader import open_dataset
from sarigan.data.mask_files import WHITES
from sarigan.device import resolve_device
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder, replace_text
from sarigan.metrics.discriminative_score import require_enough
from sarigan.models.feature_networks.networks_by_name import NETWORKS, open_network
from sarigan.models.feature_networks.perceptual import open_perceptual_distance
from sarigan.pretrained import load_inpainting
from sarigan.seeding import check_seed
from sarigan.systems.inpainting.comparison import PREPROCESSING, Comparison, Judge
from sarigan.systems.inpainting.completion import Completions, HeldOutConfig, MaskedImages
from sarigan.visualization.completion_sheet import completion_sheet

MIN_IMAGES = 4


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="run directories or checkpoint files of inpainting systems")
    parser.add_argument("--images", help="a prepared set, a folder or a zip file; default: the first model's held_out.path")
    parser.add_argument("--masks", help="a folder with a mask for each image; default: the first model's, with --images drawn")
    parser.add_argument("--white", choices=WHITES, default="auto", help="what white means in --masks; auto: a hole, checked")
    parser.add_argument("--num-images", type=int, metavar="N", help="the first N at most; default: all")
    parser.add_argument("--networks", default="efficientnet", help=f"of distances, with commas: {', '.join(NETWORKS)}")
    parser.add_argument("--ids", action="store_true", help="with P-IDS and U-IDS, for 10,000 images and more")
    parser.add_argument("--rows", type=int, default=8, help="images of the sheet; default 8")
    parser.add_argument("--seed", type=int, default=0, help="of latents and noise")
    parser.add_argument("--batch-size", type=int, default=16)
    add_distance_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("out/inpainting"), metavar="DIR")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(options.output):
        check_seed("--seed", options.seed)
        for name in ("rows", "batch_size"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
        device = resolve_device(options.device, "--device")
        systems = {label: load_inpainting(path, device) for label, path in labels(options.checkpoints).items()}
        first = next(iter(systems.values()))
        for label, system in systems.items():
            if system.resolution != first.resolution:
                raise InputError(f"{label}: completes {system.resolution} px, the first model {first.resolution} px")
        config, held_out = first.config, held_out_of(options, first.config.held_out)
        masked = MaskedImages(config.data, held_out, first.resolution, config.training.seed)
        count = len(masked) if options.num_images is None else min(len(masked), options.num_images)
        if count < MIN_IMAGES:
            raise InputError(f"a comparison needs at least {MIN_IMAGES} images, got {count}")
        if options.ids:
            require_enough(count, "--ids")
        training = open_dataset(config.data, first.resolution)  # now: the floors, which need it, come after hours
        networks = {name: open_network(name, device) for name in options.networks.split(",")}
        distance = open_perceptual_distance(device, options.distance)
        judge = Judge(masked, count, networks, distance, device, options.batch_size, options.ids)
        masks = f"stored masks of {held_out.masks}" if held_out.masks else f"drawn masks {config.data.mask.kind}"
        protocol = f"{count} of {masked.images.describe()}; {masks}; seed {options.seed}; 8-bit completions"
        found = Comparison(f"{protocol}; distances to the originals, preprocessing {PREPROCESSING}")
        shown = min(options.rows, count)
        columns = {}
        for label, system in systems.items():
            completed = judge.completed(Completions(system.average.module, masked, options.seed))
            found.errors[label] = judge.errors(completed)
            means = {name: float(values.mean()) for name, values in found.errors[label].items()}
            found.scores[label] = means | judge.distances(completed, f"completions of {label}")
            columns[label] = to_signed_float(completed[:shown])
        found.floors = judge.floors(training)
        print(found.table())
        replace_text(options.output / "table.txt", found.table() + "\n")
        found.write(options.output / "scores.json")
        originals, known = to_signed_float(judge.originals[:shown]), judge.known[:shown].to(torch.float32)
        completion_sheet(originals, known, columns).save(options.output / "sheet.png")
        print(f"written to {options.output}")


def held_out_of(options: argparse.Namespace, trained: HeldOutConfig) -> HeldOutConfig:
    """The options, and what the first model was trained with for those that are not given."""
    if options.masks:
        return HeldOutConfig(options.images or trained.path, options.masks, options.white)
    return HeldOutConfig(options.images) if options.images else trained


def labels(paths: list[Path]) -> dict[str, Path]:
    """A name for each model: that of its run directory or file. InputError where two have one name."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise InputError(f"{path} and {found[name]} have one name; give each model once, in folders of unlike names")
        found[name] = path
    return found
