"""Make images of a layout (docs/layouts.md).

sarigan synthesize runs/avatars_64_spade layout.png --seeds 0-7
sarigan synthesize runs/avatars_64_spade layout.png --style reference.png    in the style of a picture
sarigan synthesize runs/camvid_256_spade LAYOUTS --seeds 0                   a folder of layouts
A layout is a PNG of class numbers, or of colours where the model was trained with a table of them. Writes for every layout
NAME-SEED.png, with --style NAME-REFERENCE.png, and one sheet.png.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.data.image_folder import files_below, is_image_name
from sarigan.data.layouts.edges import instance_edges
from sarigan.data.layouts.files import LayoutReader, read_numbers
from sarigan.data.layouts.one_layout import fitted, layout_reader
from sarigan.device import resolve_device
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import kind_of, output_folder
from sarigan.files.picture import BrokenPicture, decode_picture, read_picture
from sarigan.files.reading import reason_of
from sarigan.pretrained import load_semantic_layout
from sarigan.systems.semantic_layout.synthesis import paint_styles
from sarigan.systems.semantic_layout.system import SemanticLayoutSystem
from sarigan.visualization.layout_sheet import layout_sheet
from sarigan.visualization.sheet import pictures

MAX_ROWS = 16  # of the sheet


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a run directory or a checkpoint file of system: semantic_layout")
    parser.add_argument("layout", type=Path, help="a PNG of class numbers or colours, or a folder of them")
    parser.add_argument("--style", type=Path, nargs="+", default=[], metavar="FILE", help="pictures whose style is taken")
    parser.add_argument("--seeds", help="a style for each, such as 0-7; default 0, with --style none")
    parser.add_argument("--instances", type=Path, metavar="FILE", help="numbers of instances, where the model has edges")
    parser.add_argument("--colors", type=Path, metavar="FILE", help="table of colours; default: the model's data.colors")
    parser.add_argument("--by-region", action="store_true", help="of a model with 3D noise: other noise for every class")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, default=Path("out/synthesize"), metavar="DIR")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    options = parse()
    with exit_on_input_error(), output_folder(options.output):
        seeds = parse_seeds(options.seeds or "0") if options.seeds or not options.style else []
        device = resolve_device(options.device, "--device")
        system = load_semantic_layout(options.checkpoint, device)
        check_options(options, system)
        check_names([*(path.stem for path in options.style), *{str(seed) for seed in seeds}], "--style")
        styles = {path.stem: read_style(path) for path in options.style}
        colors = None if options.colors is None else str(options.colors)
        layouts, reader = layouts_at(options.layout), layout_reader(system.config.data, colors)
        rows: list[tuple[Tensor | None, dict[str, Tensor]]] = []
        names: list[str] = []
        for path, name in layouts:
            batch = read_layout(path, reader, options.instances, system.config.image_size)
            made = paint_styles(system.average.module, system.channels, batch, seeds, styles, options.by_region)
            for label, image in made.items():
                target = options.output / f"{name}-{label}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pictures(image)[0]).save(target)
            if len(rows) < MAX_ROWS:
                rows.append((batch.layout, made))
                names.append(name)
            print(f"{options.output / name}-*.png")
        columns = {label: torch.cat([made[label] for _, made in rows]) for label in rows[0][1]}
        shown = torch.cat([layout for layout, _ in rows if layout is not None])
        layout_sheet(shown, columns, names if len(names) > 1 else ()).save(options.output / "sheet.png")
        print(options.output / "sheet.png")


def check_options(options: argparse.Namespace, system: SemanticLayoutSystem) -> None:
    """InputError for an option that the model has no use for, or needs."""
    style = system.config.generator.style
    if options.style and style != "encoder":
        raise InputError(f"--style: the model has no image encoder (generator.style={style})")
    if options.by_region and style != "noise":
        raise InputError(f"--by-region: the model has no 3D noise (generator.style={style})")
    if options.instances is not None and not system.channels.has_edges:
        raise InputError("--instances: the model has no edges (data.instances=false)")
    if system.channels.has_edges and (options.instances is None or kind_of(options.layout) == "folder"):
        raise InputError("the model was trained with the edges of instances: give one layout, and its --instances")


def layouts_at(path: Path) -> list[tuple[Path, str]]:
    """(file, name) of a layout, or of all in a folder. InputError when there is none."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no such file or folder")
    if kind == "file":
        return [(path, path.stem)]
    names = sorted(filter(is_image_name, files_below(path)))
    if not names:
        raise InputError(f"{path}: holds no layout")
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    check_names(stems, str(path))
    return [(path / name, stem) for name, stem in zip(names, stems, strict=True)]


def check_names(names: list[str], where: str) -> None:
    """InputError when two results would have one file."""
    for name in (name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"{where}: two images would have the name {name!r}; rename a picture")


def read_layout(path: Path, reader: LayoutReader, instances: Path | None, size: tuple[int, int]) -> Batch:
    """A layout as training reads it, resized nearest to the model's size (height, width), whose aspect it must have."""
    layout = fitted(reader.read(picture_bytes(path), str(path)), size, str(path))
    edges = None
    if instances is not None:
        numbers = read_numbers(picture_bytes(instances), str(instances))
        edges = torch.from_numpy(instance_edges(fitted(numbers, size, str(instances))))[None]
    return Batch(torch.zeros(1, 3, *size, dtype=torch.uint8), layout=torch.from_numpy(layout)[None], edges=edges)


def picture_bytes(path: Path) -> bytes:
    """The bytes of a file; InputError naming it."""
    try:
        return read_picture(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (BrokenPicture, OSError) as error:
        raise InputError(f"{path}: not a readable layout ({reason_of(error)})") from None


def read_style(path: Path) -> Tensor:
    """A picture uint8 [1,3,h,w]. InputError naming the file."""
    data = picture_bytes(path)
    try:
        picture, _ = decode_picture(data)
    except BrokenPicture as error:
        raise InputError(f"{path}: not a readable image ({reason_of(error)})") from None
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
