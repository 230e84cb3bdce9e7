"""Complete the holes of images (docs/inpainting.md).

sarigan inpaint runs/facades_64_sarigan photo.png mask.png --seeds 0-9 --output out/inpaint
sarigan inpaint runs/facades_64_sarigan PHOTOS MASKS            folders; a mask has the name of its image, with .png
A mask is a grey picture, white where the hole is. Writes NAME-SEED.png of every image and seed, and sheet.png.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.commands.options import add_distance_option
from sarigan.data.batch import to_signed_float
from sarigan.data.image_folder import files_below, is_image_name
from sarigan.data.mask_files import WHITES, MaskFolder, mask_name, read_mask, require_own_masks
from sarigan.device import resolve_device
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import kind_of, output_folder
from sarigan.files.picture import BrokenPicture, decode_picture, read_picture
from sarigan.files.reading import reason_of
from sarigan.models.feature_networks.perceptual import open_perceptual_distance
from sarigan.pretrained import load_inpainting
from sarigan.systems.inpainting.diversity import diversity
from sarigan.visualization.completion_sheet import completion_sheet
from sarigan.visualization.sheet import pictures

MAX_ROWS = 16  # of the sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a run directory or a checkpoint file of an inpainting system")
    parser.add_argument("image", type=Path, help="a picture of the model's size, or a folder of them")
    parser.add_argument("mask", type=Path, help="its mask, or a folder of masks")
    parser.add_argument("--seeds", default="0", help="a completion for each, such as 0-9; default 0")
    parser.add_argument("--white", choices=WHITES, default="auto", help="what white means in a mask; auto: a hole, checked")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="PSI", help="of w to its mean; default 1: off")
    add_distance_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("out/inpaint"), metavar="DIR")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(options.output):
        seeds = parse_seeds(options.seeds)
        if not -10 <= options.truncation <= 10:
            raise InputError(f"--truncation must be a number from -10 to 10, got {options.truncation}")
        device = resolve_device(options.device, "--device")
        pairs = pairs_of(options.image, options.mask)
        system = load_inpainting(options.checkpoint, device)
        generator = system.average.module
        like = next(generator.parameters())
        if len(seeds) > 1 and not generator.draws_completions:
            print(f"note: {options.checkpoint} draws nothing, so a hole has one completion; made for seed {seeds[0]} alone")
            seeds = seeds[:1]
        distance = open_perceptual_distance(device, options.distance)
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        for image_path, mask_path, name in pairs:
            image = read_image(image_path, system.resolution)
            size = (system.resolution, system.resolution)
            known = torch.from_numpy(read_mask(mask_path, options.white, size))[None].to(like)
            original = to_signed_float(image[None]).to(like)
            made = []
            for seed in seeds:
                made.append(generator.complete(original, known, [seed], options.truncation))
                path = options.output / f"{name}-{seed}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pictures(made[-1])[0]).save(path)
            if len(rows) < MAX_ROWS:
                rows.append((original, known, torch.cat(made)))
            print(f"{options.output / name}-*.png" + diversity(torch.cat(made), known, distance))
        save_sheet(rows, [name for *_, name in pairs], seeds, options.output / "sheet.png")
        print(options.output / "sheet.png")


def pairs_of(image: Path, mask: Path) -> list[tuple[Path, Path, str]]:
    """(image, mask, name) of a pair or of two folders. InputError for an image without its mask, and for nothing at all."""
    kinds = {path: kind_of(path) for path in (image, mask)}
    for path, kind in kinds.items():
        if kind is None:
            raise InputError(f"{path}: no such file or folder")
    if kinds[image] != kinds[mask]:
        raise InputError(
            f"image and mask must be two files or two folders, got {image} ({kinds[image]}) and {mask} ({kinds[mask]})"
        )
    if kinds[image] == "file":
        return [(image, mask, image.stem)]
    names = sorted(filter(is_image_name, files_below(image)))
    if not names:
        raise InputError(f"{image}: holds no image")
    require_own_masks(names)
    MaskFolder(mask, 1).require(names)
    return [(image / name, mask / mask_name(name), Path(name).with_suffix("").as_posix()) for name in names]


def read_image(path: Path, resolution: int) -> Tensor:
    """A picture uint8 [3,R,R]. InputError naming the file when it cannot be read or has another size than the model's."""
    try:
        picture, _ = decode_picture(read_picture(path))
    except (BrokenPicture, OSError) as error:
        raise InputError(f"{path}: not a readable image ({reason_of(error)})") from None
    found, right = f"{picture.width}x{picture.height}", f"{resolution}x{resolution}"
    if min(picture.size) < resolution:
        raise InputError(f"{path}: is {found}, smaller than the {right} of the model")
    if picture.size != (resolution, resolution):
        raise InputError(
            f"{path}: is {found}, the model completes {right}; cut or resize image and mask to that size (a larger image is not"
            " completed tile by tile, because no tile would know of the others)"
        )
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def save_sheet(rows: list[tuple[Tensor, Tensor, Tensor]], names: list[str], seeds: list[int], path: Path) -> None:
    """A row an image, a column a seed."""
    images, known = torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])
    columns = {f"seed {seed}": torch.stack([row[2][index] for row in rows]) for index, seed in enumerate(seeds)}
    completion_sheet(images, known, columns, names[: len(rows)]).save(path)
