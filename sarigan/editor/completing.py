"""Completions of a photograph with a painted hole, by a model of an inpainting system. No web code."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sarigan.editor.projecting import Upload, read_photograph
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, opened_picture
from sarigan.pretrained import load_inpainting
from sarigan.seeding import check_seed

MAX_COMPLETIONS = 8


class CompletionModel:
    """The inpainting generator of a source (as `load_inpainting` takes it). InputError when there is none to read."""

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        self.source = source
        system = load_inpainting(source, device)
        self.generator, self.resolution = system.average.module, system.resolution

    @property
    def name(self) -> str:
        """For people that need not know the folders of this machine."""
        return Path(self.source).name

    def description(self) -> str:
        """One line for the head of the page."""
        return f"{self.resolution} px, completes holes"

    @torch.no_grad()
    def complete(self, image: Tensor, known: Tensor, first_seed: int, count: int, psi: float = 1.0) -> Tensor:
        """Completions [count,3,R,R] of image [1,3,R,R] in -1..1 where known [1,1,R,R] is 0, a seed each.

        Of a model that draws nothing there is one.

        InputError for no hole, a hole everywhere, and numbers out of range.
        """
        if not 1 <= count <= MAX_COMPLETIONS:
            raise InputError(f"1 to {MAX_COMPLETIONS} completions are made at once, got {count}")
        if not abs(psi) <= 10:
            raise InputError(f"truncation must be from -10 to 10, got {psi}")
        check_seed("first seed", first_seed)
        check_seed("last seed", first_seed + count - 1)
        if float(known.min()) > 0:
            raise InputError("paint a hole first: the model completes what is painted over")
        if float(known.max()) == 0:
            raise InputError("the whole picture is painted over; leave something to see")
        like = next(self.generator.parameters())
        image, known = image.to(like), known.to(like)
        seeds = range(first_seed, first_seed + (count if self.generator.draws_completions else 1))
        return torch.cat([self.generator.complete(image, known, [seed], psi).float().cpu() for seed in seeds])


def read_hole(upload: Upload, resolution: int) -> Tensor:
    """What was painted, as its opaque pixels tell: known [1,1,R,R], 1 where nothing was painted. Cut as the photograph is.

    InputError for what is no picture with transparency.
    """
    try:
        with opened_picture(upload.content) as layer:
            read_photograph(upload, resolution)  # within the same bounds
            alpha = layer.convert("RGBA").getchannel("A")
    except BrokenPicture as error:
        raise InputError(f"{upload.name}: not a painted layer that can be read ({error})") from None
    side = min(alpha.size)
    left, top = (alpha.width - side) // 2, (alpha.height - side) // 2
    square = alpha.crop((left, top, left + side, top + side)).resize((resolution, resolution), Image.Resampling.BOX)
    painted = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).reshape(1, 1, resolution, resolution)
    return (painted == 0).float()  # a pixel that is painted in part is in the hole
