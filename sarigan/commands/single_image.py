"""Learn from one picture, and use what was learnt (docs/single_image.md).

sarigan single_image train photo.png --run-dir runs/photo
sarigan single_image sample runs/photo --seeds 0-8 --size 400x160
sarigan single_image super_resolve runs/photo --factor 4
sarigan single_image paint runs/photo drawing.png --start-scale 1
sarigan single_image harmonize runs/photo pasted.png mask.png --start-scale 3
sarigan single_image edit runs/photo edited.png mask.png --start-scale 3
sarigan single_image animate runs/photo --frames 100
"""

# isort: split
from sarigan.runs import early_exit  # before the imports that take seconds

# isort: split
import argparse
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sarigan import distributed
from sarigan.commands.train import train_and_tell
from sarigan.config import load_config
from sarigan.data.picture import read_pixels, resized
from sarigan.device import resolve_device
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_file, output_folder
from sarigan.metrics.completion_errors import psnr
from sarigan.metrics.single_image_distance import single_image_distances
from sarigan.models.feature_networks.feature_network import metric_name, to_uint8
from sarigan.models.feature_networks.networks_by_name import open_network
from sarigan.pretrained import load_single_image
from sarigan.runs.failure import is_out_of_memory
from sarigan.seeding import check_seed
from sarigan.systems.single_image import samples
from sarigan.systems.single_image.compositing import (
    EDIT_RADIUS,
    HARMONIZE_RADIUS,
    composed,
    read_reference,
    read_region,
    softened,
)
from sarigan.systems.single_image.pyramid import Size
from sarigan.systems.single_image.system import SingleImageSystem
from sarigan.visualization.samples import check_video_path, save_video
from sarigan.visualization.sheet import pictures, save_grid

GRID_WIDTH = 1024
MAX_FRAMES = 10_000
FRAMES_PER_SECOND = 10


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    train = tasks.add_parser("train", help="learn from a picture, or go on with a stopped run")
    train.add_argument("picture", type=Path)
    train.add_argument("--config", type=Path, help="a YAML file of configs/; default: as configs/single_image.yaml")
    train.add_argument("--run-dir", type=Path, help="where everything goes; default runs/single_image_<name of the picture>")
    train.epilog = "section.key=value arguments change settings, e.g. plan.iterations=500"

    def add(name: str, summary: str, default: str) -> argparse.ArgumentParser:
        task = tasks.add_parser(name, help=summary)
        task.add_argument("checkpoint", type=Path, help="a run directory or a checkpoint file of system: single_image")
        task.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        task.add_argument("--output", type=Path, default=Path(default), help=f"default {default}")
        return task

    sample = add("sample", "random images of any size", "out/single_image")
    sample.add_argument("--seeds", default="0-8", help="an image for each; default 0-8")
    sample.add_argument("--size", metavar="WxH", help="px; default: the picture's")
    sample.add_argument("--start-scale", type=int, default=0, help="scales below it keep the picture's layout; default 0: none")
    sample.add_argument("--score", choices=("efficientnet", "inception"), help="print the distance to the picture (SIFID)")
    enlarge = add("super_resolve", "enlarge a picture", "out/super_resolved.png")
    enlarge.add_argument("--factor", type=float, default=4.0)
    enlarge.add_argument("--picture", type=Path, help="another picture than the one that was learnt")
    enlarge.add_argument("--original", type=Path, help="the picture in the large size: print the PSNR, and that of bicubic")
    enlarge.add_argument("--seed", type=int, default=0)
    for name, summary, start, masked in (
        ("paint", "turn a drawing into a picture", 1, False),
        ("harmonize", "fit a pasted object into the picture", None, True),
        ("edit", "repair the seams of an edited picture", None, True),
    ):
        task = add(name, summary, f"out/{name}.png")
        task.add_argument("image", type=Path, help="of the size of the picture that was learnt")
        if masked:
            task.add_argument("mask", type=Path, help="of the same size, white where the object or the edit is")
        task.add_argument("--start-scale", type=int, default=start, help="coarser changes more; default: the middle one")
        task.add_argument("--seed", type=int, default=0)
    animate = add("animate", "a film that moves around the picture", "out/single_image.gif")
    animate.add_argument("--frames", type=int, default=100, help=f"1 to {MAX_FRAMES:,}, {FRAMES_PER_SECOND} a second")
    animate.add_argument("--start-scale", type=int, default=1, help="coarser moves more; default 1")
    animate.add_argument("--alpha", type=float, default=0.1, help="0 to 1: how near to the picture; default 0.1")
    animate.add_argument("--beta", type=float, default=0.9, help="0 to 1: how smooth; default 0.9")
    animate.add_argument("--seed", type=int, default=0)
    options, others = parser.parse_known_args()  # subparsers do not know positions among options
    if others and (options.task != "train" or any(text.startswith("-") for text in others)):
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.overrides = others
    return options


def main() -> None:
    options = parse()
    if options.task == "train":
        train(options)
        return
    early_exit.uninstall()
    with exit_on_input_error():
        if getattr(options, "seed", None) is not None:
            check_seed("--seed", options.seed)
        device = resolve_device(options.device, "--device")
        try:
            TASKS[options.task](options, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(f"out of memory on {device}; a smaller image fits") from None


def train(options: argparse.Namespace) -> None:
    """`sarigan train` with the picture in its place."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with distributed.rank_main(), distributed.process_group():
        with distributed.raise_on_all_ranks():
            given = [] if options.config else ["system=single_image"]
            path = json.dumps(str(options.picture))  # a setting is YAML, in which a # would begin a comment
            config = load_config(options.config, [*given, f"data.path={path}", *options.overrides])
            if config.system != "single_image":
                raise InputError(f"{options.config}: system must be single_image for this command, got {config.system!r}")
        train_and_tell(config, options.run_dir or Path("runs") / f"single_image_{options.picture.stem}")


def sample(options: argparse.Namespace, device: torch.device) -> None:
    """<output>/<seed>.png and <output>/grid.png."""
    seeds, size = parse_seeds(options.seeds), parse_size(options.size)
    with output_folder(options.output):
        generator = opened(options, device).generator
        samples.check_start(generator, options.start_scale)
        network = None if options.score is None else open_network(options.score, device)
        made = []
        for seed in seeds:
            made.append(to_uint8(samples.random_sample(generator, seed, size, options.start_scale)).cpu())
            save(made[-1], options.output / f"{seed}.png")
        save_grid(torch.cat(made), options.output / "grid.png", min_width=GRID_WIDTH)
        print(options.output / "grid.png")
        if network is not None:
            picture = generator.real(samples.num_scales(generator) - 1)
            distances = torch.tensor(single_image_distances(network, picture, [image.to(device) for image in made]))
            spread = float(distances.std()) if len(distances) > 1 else math.nan
            name = metric_name("sifid", network)
            print(f"{name} {float(distances.mean()):.5g} (standard deviation over {len(made)} samples {spread:.2g})")


def super_resolve(options: argparse.Namespace, device: torch.device) -> None:
    """One picture, enlarged."""
    with output_file(options.output):
        generator = opened(options, device).generator
        image = generator.picture if options.picture is None else read_pixels(options.picture)[None].to(device) / 127.5 - 1
        large = samples.super_resolved(generator, image, options.factor, options.seed)
        if options.original is not None:
            original = read_pixels(options.original)[None]
            if original.shape != large.shape:
                found, right = original.shape, large.shape
                raise InputError(f"{options.original}: is {found[3]}x{found[2]}, the enlarged picture is {right[3]}x{right[2]}")
            plain = resized(image.to(large), (large.shape[2], large.shape[3]))
            unmasked = torch.ones(1)
            for name, made in (("model", large), ("bicubic", plain)):
                print(f"PSNR of {name}: {float(psnr(to_uint8(made).cpu(), original, unmasked)):.2f} dB")
        save(large, options.output)
        print(options.output)


def paint(options: argparse.Namespace, device: torch.device) -> None:
    """A drawing through the finer scales."""
    with output_file(options.output):
        system = opened(options, device)
        reference = read_reference(options.image, system.generator, file_size(system))
        save(samples.injected(system.generator, reference, options.start_scale, options.seed), options.output)
        print(options.output)


def harmonize(options: argparse.Namespace, device: torch.device) -> None:
    """A pasted object, fitted in."""
    through_scales(options, device, HARMONIZE_RADIUS)


def edit(options: argparse.Namespace, device: torch.device) -> None:
    """An edited region, its seams repaired."""
    through_scales(options, device, EDIT_RADIUS)


def through_scales(options: argparse.Namespace, device: torch.device, radius: int) -> None:
    """The image through the finer scales, kept inside the softened mask; outside it is the picture."""
    with output_file(options.output):
        system = opened(options, device)
        generator = system.generator
        reference = read_reference(options.image, generator, file_size(system))
        region = read_region(options.mask, generator, file_size(system)).to(generator.picture)
        middle = max(1, samples.num_scales(generator) // 2)
        start = middle if options.start_scale is None else options.start_scale
        changed = samples.injected(generator, reference, start, options.seed)
        picture = generator.real(samples.num_scales(generator) - 1)
        save(composed(picture, changed, softened(region, radius)), options.output)
        print(f"{options.output} (start scale {start})")


def animate(options: argparse.Namespace, device: torch.device) -> None:
    """A film; a frame is written as it is made."""
    if not 1 <= options.frames <= MAX_FRAMES:
        raise InputError(f"--frames must be 1 to {MAX_FRAMES:,}, got {options.frames}")
    for name in ("alpha", "beta"):
        if not 0 <= getattr(options, name) <= 1:
            raise InputError(f"--{name} must be 0 to 1, got {getattr(options, name)}")
    check_video_path(options.output)
    with output_file(options.output):
        generator = opened(options, device).generator
        samples.check_start(generator, options.start_scale)
        frames = samples.animation(
            generator, options.frames, options.start_scale, options.alpha, options.beta, options.seed
        )  # fmt: skip
        save_video((pictures(frame)[0] for frame in frames), options.output, FRAMES_PER_SECOND)
        print(options.output)


TASKS: dict[str, Callable[[argparse.Namespace, torch.device], None]] = {
    "sample": sample, "super_resolve": super_resolve, "paint": paint, "harmonize": harmonize, "edit": edit, "animate": animate,
}  # fmt: skip


def opened(options: argparse.Namespace, device: torch.device) -> SingleImageSystem:
    """The model; a line when some of its scales are not trained yet."""
    system = load_single_image(options.checkpoint, device)
    begun, count = samples.num_scales(system.generator), len(system.generator.sizes)
    if begun < count:
        print(f"note: {options.checkpoint} has trained {begun} of {count} scales; images have the size of the last of them")
    return system


def file_size(system: SingleImageSystem) -> Size:
    """(height, width) of the file that was learnt."""
    return system.config.pyramid.height, system.config.pyramid.width


def parse_size(text: str | None) -> Size | None:
    """`400x160` -> (160, 400); InputError for anything else, and for sizes beyond memory."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 8 for part in parts):
        raise InputError(f"--size is WIDTHxHEIGHT in px, such as 400x160, got {text!r}")
    size = int(parts[1]), int(parts[0])
    samples.check_pixels(size, "--size")
    return size


def save(image: Tensor, path: Path) -> None:
    """image [1,3,H,W] as a file of the type of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures(image)[0]).save(path)
