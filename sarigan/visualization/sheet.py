"""Pictures in rows and columns: bare grids, and figures with headings, a title and a caption, as a paper prints them."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sarigan.models.feature_networks.feature_network import to_uint8

Picture = np.ndarray | None  # uint8 [h,w,3]; None leaves the cell empty

INK, GREY, PAPER = (20, 20, 24), (96, 96, 104), (255, 255, 255)
MARGIN, GAP, LINE = 16, 4, 1.25
TITLE_SIZE, LABEL_SIZE, CAPTION_SIZE = 22, 16, 15
MIN_TILE = 96
BAR_WIDTH, BAR_HEIGHT = 160, 18  # of the colours of maps
MAX_LABEL_WIDTH = 190
# Black, violet, red, orange, pale yellow: lightness rises steadily, so that the order survives print and colour blindness.
ANCHORS = np.array([(8, 6, 26), (74, 16, 108), (158, 42, 99), (226, 92, 52), (251, 174, 46), (252, 254, 190)], dtype=np.float64)


def pictures(images: Tensor) -> list[np.ndarray]:
    """images [N,3,H,W] in -1..1 -> N pictures uint8 [H,W,3]."""
    return list(to_uint8(images).cpu().permute(0, 2, 3, 1).numpy())


def heat_colors(values: np.ndarray) -> np.ndarray:
    """values [...] in 0..1 (clamped) -> uint8 [...,3]."""
    position = np.clip(values, 0, 1) * (len(ANCHORS) - 1)
    low = np.minimum(position.astype(int), len(ANCHORS) - 2)
    share = (position - low)[..., None]
    return ((1 - share) * ANCHORS[low] + share * ANCHORS[low + 1]).round().astype(np.uint8)


def heat_pictures(maps: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Maps [N,H,W] on one colour scale from 0, and the value of its bright end."""
    largest = float(maps.max())
    return [heat_colors(m) for m in maps / max(largest, 1e-12)], largest


def make_grid(images: Tensor, num_columns: int | None = None) -> np.ndarray:
    """images [N,3,H,W] in -1..1 or uint8 -> uint8 [rows*H, columns*W, 3], row by row; about square unless columns are given."""
    n, c, h, w = images.shape
    columns = num_columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = torch.zeros(rows * columns, c, h, w, dtype=torch.uint8)
    canvas[:n] = to_uint8(images).cpu()
    return canvas.reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c).numpy()


def save_grid(
    images: Tensor, path: Path, num_columns: int | None = None, min_width: int = 0, chunk: PngInfo | None = None
) -> np.ndarray:
    """Write the grid of `make_grid` as a PNG and return it.

    Every pixel is repeated by the largest whole factor that keeps the grid within `min_width` pixels. `chunk`: text in it.
    """
    grid = make_grid(images, num_columns)
    factor = max(1, min_width // grid.shape[1])
    grid = grid.repeat(factor, axis=0).repeat(factor, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path, pnginfo=chunk)
    return grid


def make_sheet(
    rows: Sequence[Sequence[Picture]],
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    title: str = "",
    caption: str = "",
    separate_columns: Sequence[int] = (),
    separate_rows: Sequence[int] = (),
    min_tile: int = MIN_TILE,
    color_bar: tuple[str, str] | None = None,
) -> Image.Image:
    """Lay out pictures of one size. Small ones are enlarged by whole pixels until their longer side reaches `min_tile`.

    Headings are wrapped to their column. A wider gap follows the columns and rows of `separate_columns`, `separate_rows`.
    color_bar: what the dark and the bright end of the colours of maps stand for, drawn under the pictures.
    """
    height, width = next(cell.shape[:2] for row in rows for cell in row if cell is not None)
    factor = max(1, -(-min_tile // max(height, width)))
    tile_w, tile_h = width * factor, height * factor
    num_columns = max(len(row) for row in rows)
    heads = [_wrap(text, LABEL_SIZE, tile_w) for text in column_labels]
    sides = [_wrap(text, LABEL_SIZE, MAX_LABEL_WIDTH) for text in row_labels]
    left = MARGIN + max((_text_width(line, LABEL_SIZE) + 10 for side in sides for line in side), default=0)
    head_height = _block_height(max((len(head) for head in heads), default=0), LABEL_SIZE)
    xs = _positions(num_columns, tile_w, left, separate_columns)
    table_width = xs[-1] - left
    titles = _wrap(title, TITLE_SIZE, max(table_width + left - MARGIN, 320)) if title else []
    captions = _wrap(caption, CAPTION_SIZE, max(table_width + left - MARGIN, 320)) if caption else []
    top = MARGIN + _block_height(len(titles), TITLE_SIZE) + (8 if titles else 0) + head_height + (4 if heads else 0)
    ys = _positions(len(rows), tile_h, top, separate_rows)
    below = ys[-1] + (8 + BAR_HEIGHT if color_bar else 0)
    bottom = below + (8 + _block_height(len(captions), CAPTION_SIZE) if captions else 0) + MARGIN
    widest = [_text_width(line, size) for lines, size in ((titles, TITLE_SIZE), (captions, CAPTION_SIZE)) for line in lines]
    widest += [BAR_WIDTH + 16 + sum(_text_width(text, CAPTION_SIZE) for text in color_bar)] if color_bar else []
    canvas = Image.new("RGB", (max(xs[-1], MARGIN + max(widest, default=0)) + MARGIN, bottom), PAPER)
    draw = ImageDraw.Draw(canvas)

    _write(draw, titles, MARGIN, MARGIN, TITLE_SIZE, INK)
    for x, head in zip(xs, heads, strict=False):
        y = top - 4 - _block_height(len(head), LABEL_SIZE)
        _write(draw, head, x + tile_w // 2, y, LABEL_SIZE, INK, anchor="ma")
    for y, side in zip(ys, sides, strict=False):
        _write(draw, side, left - 10, y + (tile_h - _block_height(len(side), LABEL_SIZE)) // 2, LABEL_SIZE, INK, anchor="ra")
    for y, row in zip(ys, rows, strict=False):
        for x, cell in zip(xs, row, strict=False):
            if cell is not None:
                canvas.paste(Image.fromarray(cell).resize((tile_w, tile_h), Image.Resampling.NEAREST), (x, y))
    if color_bar:
        _draw_color_bar(canvas, draw, color_bar, ys[-1] + 8)
    _write(draw, captions, MARGIN, below + 8, CAPTION_SIZE, GREY)
    return canvas


def _draw_color_bar(canvas: Image.Image, draw: ImageDraw.ImageDraw, ends: tuple[str, str], top: int) -> None:
    """Text of the dark end, the colours from 0 to 1, text of the bright end."""
    left = MARGIN + _text_width(ends[0], CAPTION_SIZE) + 8
    colors = heat_colors(np.linspace(0, 1, BAR_WIDTH))[None].repeat(BAR_HEIGHT, axis=0)
    canvas.paste(Image.fromarray(colors), (left, top))
    _write(draw, [ends[0]], MARGIN, top, CAPTION_SIZE, GREY)
    _write(draw, [ends[1]], left + BAR_WIDTH + 8, top, CAPTION_SIZE, GREY)


def _positions(count: int, size: int, start: int, separated: Sequence[int]) -> list[int]:
    """Where each of `count` tiles starts, and where the last one ends."""
    found = [start]
    for index in range(count):
        last = index == count - 1
        found.append(found[-1] + size + (0 if last else 4 * GAP if index in separated else GAP))
    return found


@cache
def _font(size: int) -> FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> int:
    return int(np.ceil(_font(size).getlength(text)))


def _block_height(num_lines: int, size: int) -> int:
    return int(num_lines * size * LINE)


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Lines that fit, broken at spaces; a longer word keeps a line of its own."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}".strip()
            if line and _text_width(longer, size) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines


def _write(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], x: int, y: int, size: int, color: tuple[int, int, int], anchor: str = "la"
) -> None:
    for index, line in enumerate(lines):
        draw.text((x, y + int(index * size * LINE)), line, fill=color, font=_font(size), anchor=anchor)
