"""Store a fixed set of masks for inpainting, one for each image: sarigan prepare_masks DEST --images TEST --resolution 256.

Mask i is a function of the kind, the resolution, the seed and i. The same command goes on after a stop; a mask that is there
stays. The files are grey PNGs, white where the hole is, named after the images; masks.json tells how they were drawn.
"""

import argparse
import json
from pathlib import Path

from sarigan.data.image_folder import ImageFolderDataset
from sarigan.data.lmdb.dataset import LmdbDataset, is_lmdb
from sarigan.data.mask_files import image_names, prepare
from sarigan.data.masks import KINDS, MaskConfig, MaskSource
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_folder, replace_text
from sarigan.files.reading import read_json_object

RECORD = "masks.json"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("destination", type=Path, metavar="DEST")
    parser.add_argument("--kind", default="center", help=f"{', '.join(KINDS)}; default center")
    parser.add_argument("--resolution", type=int, required=True, metavar="R", help="of the masks, in pixels")
    parser.add_argument("--images", type=Path, metavar="SET", help="a folder, zip file or prepared set: a mask for each image")
    parser.add_argument("--num-masks", type=int, metavar="N", help="without --images: masks 000000.png to N-1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-hole", type=float, default=0.0, help="share of the image that a hole must exceed (0)")
    parser.add_argument("--max-hole", type=float, default=1.0, help="share of the image that a hole must stay below (1)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(options.destination, "DEST"):
        if (options.images is None) == (options.num_masks is None):
            raise InputError("either --images or --num-masks must say how many masks are wanted")
        if options.num_masks is not None and not 1 <= options.num_masks <= 1_000_000:
            raise InputError(f"--num-masks must be 1 to 1,000,000, got {options.num_masks}")
        if not 0 <= options.seed < 2**63:
            raise InputError(f"--seed must be 0 to {2**63 - 1}, got {options.seed}")
        if not 8 <= options.resolution <= 8192:
            raise InputError(f"--resolution must be 8 to 8192, got {options.resolution}")
        if options.kind not in KINDS:
            raise InputError(f"--kind must be one of {', '.join(KINDS)}, got {options.kind!r}")
        config = MaskConfig(options.kind, min_hole=options.min_hole, max_hole=options.max_hole)
        draw = MaskSource(config, options.resolution, options.seed)
        names = names_of(options)
        check_record(options)
        count, share = prepare(options.destination, names, draw)
    print(f"{options.destination}: {count:,} new masks of {len(names):,}" + (f", mean hole {share:.1%}" if count else ""))


def names_of(options: argparse.Namespace) -> list[str]:
    """The images that want a mask."""
    if options.images is None:
        return [f"{index:06d}" for index in range(options.num_masks)]
    if is_lmdb(options.images):
        return image_names(None, len(LmdbDataset(options.images)))
    dataset = ImageFolderDataset(options.images, 1, "center")
    return image_names(dataset, len(dataset))


def check_record(options: argparse.Namespace) -> None:
    """Write how the masks are drawn. InputError where masks of another kind are there already."""
    record = {name: getattr(options, name) for name in ("kind", "resolution", "seed", "min_hole", "max_hole")}
    path = options.destination / RECORD
    there = read_json_object(path)
    if there not in ({}, record):
        raise InputError(f"{path}: the masks there were drawn with {there}, not with {record}; another DEST starts anew")
    replace_text(path, json.dumps(record) + "\n")
