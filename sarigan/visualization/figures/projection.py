"""The image to find as a tensor, and the strip that shows how a projection came near it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.files.picture import decode_picture, read_picture
from sarigan.files.reading import reading
from sarigan.visualization.sheet import heat_colors, make_sheet, pictures


def load_target(path: Path, resolution: int) -> Tensor:
    """An image file -> [1,3,R,R] in -1..1: centre square, resized. InputError naming the file."""
    with reading(path, "image"):
        picture, _ = decode_picture(read_picture(path))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side != resolution:
        picture = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1


def projection_strip(target: Tensor, progress: list[tuple[str, Tensor]], image: Tensor, caption: str) -> Image.Image:
    """The target, images along the way, the result, and their difference. All [1,3,R,R]."""
    difference = (image - target).abs().mean(dim=1)[0].cpu().numpy()
    largest = float(difference.max())
    cells = [*(pictures(shown)[0] for shown in (target, *(step for _, step in progress), image))]
    cells.append(heat_colors(difference / max(largest, 1e-12)))
    heads = ["target", *(name for name, _ in progress), "result", "difference"]
    text = f"{caption} Pale yellow in the difference is {largest * 127.5:.0f} of 255 grey levels."
    return make_sheet([cells], heads, (), "Projection", text, separate_columns=[0, len(progress), len(progress) + 1])
