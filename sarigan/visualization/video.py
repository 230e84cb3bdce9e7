"""Frames as a film: MP4 (H.264) where imageio-ffmpeg is installed, GIF everywhere. A frame is written as it comes."""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import GifImagePlugin, Image

from sarigan.errors import InputError

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
