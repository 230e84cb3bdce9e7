"""Completions of a painted hole are those of `sarigan inpaint`; what is no hole is one line."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sarigan.commands import inpaint
from sarigan.editor.completing import CompletionModel, read_hole
from sarigan.editor.model import EditedModel
from sarigan.editor.projecting import Upload, read_photograph
from sarigan.editor.server import open_model
from sarigan.errors import InputError
from sarigan.visualization.sheet import pictures


def painted(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    """What the page's editor sends: a transparent layer with white strokes."""
    layer = Image.new("RGBA", size)
    ImageDraw.Draw(layer).rectangle(box, fill=(255, 255, 255, 255))
    file = io.BytesIO()
    layer.save(file, format="PNG")
    return file.getvalue()


def test_completions_equal_those_of_the_command(
    inpainting_run: Path, png_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(str(inpainting_run))
    assert isinstance(model, CompletionModel) and "16 px" in model.description()
    photo = png_folder / "003.png"
    image = read_photograph(Upload("003.png", photo.read_bytes()), 16)
    known = read_hole(Upload("layer.png", painted((16, 16), (3, 4, 9, 10))), 16)
    assert known[0, 0, 4:11, 3:10].sum() == 0 and known.sum() == 256 - 49
    made = model.complete(image, known, 5, 2)
    assert not torch.equal(made[0], made[1])
    assert torch.equal(made[:, :, known[0, 0] > 0], image.expand(2, -1, -1, -1)[:, :, known[0, 0] > 0])
    mask = ((1 - known[0, 0]) * 255).to(torch.uint8).numpy()
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = [inpainting_run, photo, tmp_path / "mask.png", "--seeds", "5-6", "--output", tmp_path]
    monkeypatch.setattr(sys, "argv", ["sarigan inpaint", *map(str, arguments)])
    inpaint.main()
    for index, picture in enumerate(pictures(made)):
        right = np.asarray(Image.open(tmp_path / f"003-{5 + index}.png", formats=["PNG"]))
        assert np.array_equal(picture, right)


def test_the_hole_is_cut_as_the_photograph_is() -> None:
    """A stroke in the left edge of a wide picture is outside of the centre square; a pixel painted in part is in the hole."""
    assert read_hole(Upload("layer.png", painted((64, 32), (0, 0, 15, 31))), 16).sum() == 256
    known = read_hole(Upload("layer.png", painted((128, 64), (32, 0, 32, 63))), 16)
    assert known[0, 0, :, 0].sum() == 0 and known.sum() == 256 - 16


def test_what_is_no_hole_is_one_line(inpainting_run: Path) -> None:
    model = CompletionModel(str(inpainting_run))
    image, nothing = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    some = nothing.clone()
    some[..., :4] = 0
    for known, seed, count, message in (
        (nothing, 0, 1, "paint a hole first"), (torch.zeros_like(nothing), 0, 1, "leave something to see"),
        (some, 0, 9, "1 to 8 completions"), (some, -1, 1, "first seed must be 0 to"), (some, 2**32 - 1, 2, "last seed must be"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            model.complete(image, known, seed, count)
    with pytest.raises(InputError, match="layer.png: not a p"):
        read_hole(Upload("layer.png", b"text"), 16)


def test_the_kind_of_model_is_told_from_its_file(inpainting_run: Path, exported: Callable[..., Path], tmp_path: Path) -> None:
    assert isinstance(open_model(str(exported())), EditedModel)
    with pytest.raises(InputError, match="does not exist"):
        open_model(str(tmp_path / "nothing"))
