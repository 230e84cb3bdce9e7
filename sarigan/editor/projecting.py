"""A photograph becomes a picture of the model: the upload is checked, then its latents are searched for."""

import threading
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from sarigan.editing.projection import Projection, ProjectionConfig, Watch, project
from sarigan.editor.model import EditedModel
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, decode_picture, opened_picture
from sarigan.visualization.editing import target_of

MAX_UPLOAD_BYTES = 24 << 20
MAX_UPLOAD_PIXELS = 50_000_000  # of a phone's camera; the check comes before decoding
MAX_STEPS = 1000


class Cancelled(Exception):
    """The person did not want the result any more."""


@dataclass(frozen=True)
class Upload:
    """A file as a browser sends it."""

    name: str
    content: bytes


def read_upload(path: str | None) -> Upload:
    """What the server stored of an upload, and no more than a photograph may have. InputError where there is none."""
    if path is None:
        raise InputError("choose a file first")
    with open(path, "rb") as file:
        return Upload(Path(path).name, file.read(MAX_UPLOAD_BYTES + 1))


def checked_upload(upload: Upload) -> bytes:
    """The bytes of a picture within the bounds of an upload. InputError naming the file, before a bomb is decoded."""
    if len(upload.content) > MAX_UPLOAD_BYTES:
        raise InputError(f"{upload.name}: {len(upload.content):,} bytes; at most {MAX_UPLOAD_BYTES:,} are read")
    try:
        with opened_picture(upload.content) as image:
            if image.width * image.height > MAX_UPLOAD_PIXELS:
                size = f"{image.width} x {image.height}"
                raise BrokenPicture(f"{size} pixels, at most {MAX_UPLOAD_PIXELS:,} are read; make it smaller first")
    except BrokenPicture as error:
        raise InputError(f"{upload.name}: not a picture that can be read ({error})") from None
    return upload.content


def read_picture(upload: Upload) -> Image.Image:
    """In RGB. InputError as `checked_upload`, and for a damaged file."""
    content = checked_upload(upload)
    try:
        return decode_picture(content)[0]
    except BrokenPicture as error:
        raise InputError(f"{upload.name}: not a picture that can be read ({error})") from None


def read_photograph(upload: Upload, resolution: int) -> Tensor:
    """The centre square [1,3,R,R] in -1..1. InputError as `read_picture`."""
    return target_of(read_picture(upload), resolution)


def project_photograph(
    model: EditedModel,
    upload: Upload,
    space: str,
    num_steps: int,
    progress: Watch,
    cancel: threading.Event,
) -> Projection:
    """`project` on an upload, under fixed noise. Cancelled soon after `cancel` is set. InputError for what cannot be read."""
    if num_steps > MAX_STEPS:
        raise InputError(f"a search takes at most {MAX_STEPS} steps in each space, got {num_steps}")
    config = ProjectionConfig(space, num_steps)
    target = read_photograph(upload, model.generator.config.resolution).to(model.device)

    def watch(done: int, total: int) -> None:
        if cancel.is_set():
            raise Cancelled
        progress(done, total)

    return project(model.generator, target.to(model.generator.mean_latent), model.distance(), config, watch=watch)
