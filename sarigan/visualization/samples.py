"""Samples as files and a grid (SariGAN Fig. 6-7), a sheet over truncation, a film through latents.

A film is MP4 (H.264) where imageio-ffmpeg is installed, GIF everywhere. A frame is written as it comes.
"""

import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import GifImagePlugin, Image

from sarigan.editing.rendering import Sampling, rendered_batches
from sarigan.editing.seeds import LatentPath, LatentSource, noise_of_seeds
from sarigan.errors import InputError
from sarigan.layers.intervention import Edit
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import make_sheet, pictures, save_grid

GRID_WIDTH = 1024  # small images are enlarged until the grid is about this wide
MAX_GRID_PIXELS = 2**26  # 1024 images of 256x256; a grid of more shows the first ones
log = logging.getLogger(__name__)
MAX_CLASS_ROWS = 40
MIN_SIDE = 256  # small pictures are enlarged by whole pixels, so that players do not blur them


def check_video_path(path: Path) -> None:
    """InputError before any work when a film of this name cannot be written."""
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise InputError(f"{path}: a film is a .mp4 or a .gif file")
    if path.suffix.lower() == ".mp4":
        _ffmpeg(path)


def save_video(frames: Iterable[np.ndarray], path: Path, frames_per_second: int = 30) -> None:
    """Write one or more frames uint8 [H,W,3] of one size. InputError for a name or a machine that does not do."""
    check_video_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = iter(frames)
    first = next(frames)
    factor = max(1, -(-MIN_SIDE // max(first.shape[:2])))
    height, width = first.shape[0] * factor, first.shape[1] * factor
    enlarged = (frame.repeat(factor, axis=0).repeat(factor, axis=1) for frame in chain([first], frames))
    if path.suffix.lower() == ".gif":
        # GIF counts in hundredths of a second, and players slow down anything below two.
        _write_gif(enlarged, path, (width, height), max(20, round(1000 / frames_per_second)))
        return
    even = (width - width % 2, height - height % 2)  # as H.264's colour subsampling wants
    writer = _ffmpeg(path).write_frames(
        str(path), even, fps=frames_per_second, codec="libx264", macro_block_size=2, quality=8, ffmpeg_log_level="error"
    )
    try:
        writer.send(None)
        for frame in enlarged:
            writer.send(np.ascontiguousarray(frame[: even[1], : even[0]]))
    except OSError:
        raise InputError(f"{path}: cannot write the film (ffmpeg ended early, for want of space or of permission)") from None
    finally:
        writer.close()


def _write_gif(frames: Iterator[np.ndarray], path: Path, size: tuple[int, int], milliseconds: int) -> None:
    """An endless GIF whose frames have palettes of their own. (Image.save would hold all frames until the last.)"""
    with open(path, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0) + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        for frame in frames:
            image = Image.fromarray(frame).convert("P", palette=Image.Palette.ADAPTIVE)
            file.writelines(GifImagePlugin.getdata(image, duration=milliseconds, include_color_table=True))
        file.write(b";")


def _ffmpeg(path: Path) -> ModuleType:
    hint = 'pip install -e ".[video]" in the checkout brings it, or name a .gif file'
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError):
        raise InputError(f"{path}: no ffmpeg for MP4; {hint}") from None
    module: ModuleType = imageio_ffmpeg
    return module


def save_samples(
    generator: Generator,
    sampling: Sampling,
    latents: LatentSource,
    seeds: Sequence[int] | None,
    edits: Sequence[Edit],
    folder: Path,
    num_columns: int | None = None,
    grid_only: bool = False,
) -> Path:
    """<folder>/grid.png, and <folder>/images/<seed or position>.png in the generator's resolution; returns the grid's path.

    Images are saved batch by batch, and the grid shows as many as MAX_GRID_PIXELS holds: more images take no more memory.
    """
    names = seeds if seeds is not None else range(len(latents))
    files = [f"seed{seed:06d}" for seed in seeds] if seeds is not None else [f"latent{number:06d}" for number in names]
    if len(sampling.classes) > 1:  # the same seed may stand for several
        labels = sampling.labels(generator, names) or []
        files = [f"{file}-class{label}" for file, label in zip(files, labels, strict=True)]
    num_shown = min(len(latents), max(1, MAX_GRID_PIXELS // generator.config.resolution**2))
    if num_shown < len(latents):
        log.warning(f"{folder / 'grid.png'}: shows the first {num_shown} of {len(latents)} images")
    if not grid_only:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    shown, done = [], 0
    for images in map(to_uint8, sampling.batches(generator, latents, names, edits, "images")):
        if done < num_shown:
            shown.append(images[: num_shown - done])
        elif grid_only:
            break
        if not grid_only:
            for file, picture in zip(files[done : done + len(images)], pictures(images), strict=True):
                Image.fromarray(picture).save(folder / "images" / f"{file}.png")
        done += len(images)
    save_grid(torch.cat(shown), folder / "grid.png", num_columns or whole_columns(num_shown), GRID_WIDTH)
    return folder / "grid.png"


def whole_columns(count: int) -> int | None:
    """The columns of an about square grid without empty cells; None where that would be more than twice as wide as high."""
    fitting = [columns for columns in range(1, count + 1) if count % columns == 0 and columns * columns >= count]
    return fitting[0] if fitting[0] ** 2 <= 2 * count else None


def truncation_sheet(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], psis: Sequence[float], edits: Sequence[Edit] = ()
) -> Image.Image:
    """A row a seed, a column a psi, all with the same noise."""
    columns = []
    for psi in psis:
        latents = replace(sampling, truncation_psi=psi).latents(generator, seeds)
        columns.append(pictures(sampling.render(generator, latents, seeds, edits)))
    return make_sheet(
        list(zip(*columns, strict=True)),
        [f"psi {psi:g}" for psi in psis],
        sampling.headings(generator, seeds),
        "Truncation",
        "w = mean + psi (w - mean): variety grows to the right.",
    )


def class_sheet(generator: Generator, sampling: Sampling, seeds: Sequence[int]) -> Image.Image:
    """A row a class, a column a seed, whose z and noise are the same in all rows. InputError without classes."""
    names = generator.config.class_names
    if not names:
        raise InputError("a sheet of classes: this generator was trained without classes")
    shown = names[:MAX_CLASS_ROWS]
    rows = []
    for name in shown:
        latents = replace(sampling, classes=(name,)).latents(generator, seeds)
        rows.append(pictures(sampling.render(generator, latents, seeds)))
    caption = "A column has one z and one noise; a row has one class."
    if len(shown) < len(names):
        caption += f" The first {len(shown)} of {len(names)} classes."
    return make_sheet(rows, [f"seed {seed}" for seed in seeds], shown, "Classes", caption)


def save_interpolation(
    generator: Generator,
    sampling: Sampling,
    seeds: Sequence[int],
    space: str,
    frames_per_seed: int,
    edits: Sequence[Edit],
    path: Path,
) -> None:
    """A film through the seeds and back to the first. The noise stays that of the first seed, or it would flicker."""
    psi, cutoff, labels = sampling.truncation_psi, sampling.truncation_cutoff, sampling.labels(generator, seeds)
    latents = LatentPath(generator, seeds, frames_per_seed, space, psi, cutoff, labels)
    noise = noise_of_seeds(generator, sampling.noise, seeds[:1])
    batches = rendered_batches(generator, latents, noise, None, edits, sampling.batch_size, "frames")
    save_video((picture for images in map(to_uint8, batches) for picture in pictures(images)), path)
