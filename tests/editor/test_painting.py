"""Pictures of a painted layout are those of `sarigan synthesize`; a saved layout comes back; what is none is one line."""

import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from upload_pictures import bomb, photograph

from sarigan.commands import synthesize
from sarigan.data.avatars.dataset import PART_NAMES
from sarigan.data.layouts.files import ColorTable, LayoutReader
from sarigan.editor.painting import LAYOUT_NAME, LayoutModel
from sarigan.editor.projecting import MAX_UPLOAD_BYTES, Upload
from sarigan.editor.server import open_model
from sarigan.errors import InputError
from sarigan.visualization.layout_sheet import palette
from sarigan.visualization.sheet import pictures


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def painted(model: LayoutModel) -> np.ndarray:
    """A layout of all of its classes."""
    return np.random.default_rng(1).integers(0, len(model.classes), model.size)


def by_command(model: LayoutModel, layout: np.ndarray, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs what the page says, beside the saved layout."""
    (folder / LAYOUT_NAME).write_bytes(model.layout_file(layout))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[1:], "--output", "made"])
    synthesize.main()


def assert_same(made: dict[str, torch.Tensor], folder: Path) -> None:
    for name, image in made.items():
        assert np.array_equal(
            pictures(image)[0], np.asarray(Image.open(folder / "made" / f"layout-{name}.png", formats=["PNG"]))
        )
    assert len(list((folder / "made").glob("layout-*.png"))) == len(made)


def test_seeds_and_pictures_equal_those_of_the_command(
    layout_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(str(layout_run()))
    assert isinstance(model, LayoutModel) and model.takes_references and "32 x 32 px, 10 classes" in model.description()
    references = [Upload("a.png", photograph()), Upload("b.png", photograph((9, 50)))]
    for upload in references:
        (tmp_path / upload.name).write_bytes(upload.content)
    layout = painted(model)
    made = model.images(layout, [0, 1, 5], references)
    assert list(made) == ["0", "1", "5", "a", "b"] and made["0"].shape == (1, 3, 32, 32)
    assert not torch.equal(made["0"], made["5"])
    by_command(model, layout, model.command_line("0-1,5", references), tmp_path, monkeypatch)
    assert_same(made, tmp_path)


def test_noise_of_every_class_equals_that_of_the_command(
    layout_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LayoutModel(str(layout_run("generator.style=noise")))
    layout = painted(model)
    made = model.images(layout, [3], by_region=True)
    assert model.takes_region_noise and not torch.equal(made["3"], model.images(layout, [3])["3"])
    by_command(model, layout, model.command_line("3", [], by_region=True), tmp_path, monkeypatch)
    assert_same(made, tmp_path)


def test_void_colours_and_edges_equal_those_of_the_command(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LayoutModel(str(street))
    assert model.size == (16, 24) and [part.name for part in model.classes] == ["road", "tree", "<sky>", "nothing"]
    assert [part.color for part in model.classes] == ["#ff0000", "#00ff00", "#0000ff", "#090909"]
    assert model.num_avatars == 0 and not model.first_layout().any() and "edges of objects" in model.description()
    layout = painted(model)
    made = model.images(layout, [7])
    by_command(model, layout, model.command_line("7", []), tmp_path, monkeypatch)
    assert_same(made, tmp_path)


def test_layouts_to_start_from(layout_run: Callable[..., Path]) -> None:
    model = LayoutModel(str(layout_run()))
    assert [part.name for part in model.classes] == list(PART_NAMES)
    assert [part.color for part in model.classes] == ["#" + bytes(color).hex() for color in palette(10)]
    assert model.num_avatars == 4 and set(np.unique(model.of_avatar(1))) <= set(range(10))
    assert not np.array_equal(model.of_avatar(0), model.of_avatar(1))
    assert np.array_equal(model.first_layout(), model.of_avatar(0))
    for number in (-1, 4):
        with pytest.raises(InputError, match="avatar must be 0 to 3"):
            model.of_avatar(number)
    wide = np.kron(model.of_avatar(2), np.ones((3, 3), dtype=np.int64))
    assert np.array_equal(model.of_upload(Upload("large.png", png(wide.astype(np.uint8)))), model.of_avatar(2))


def test_a_saved_layout_comes_back(layout_run: Callable[..., Path], street: Path) -> None:
    """Also as the numbers that travel to the browser and back."""
    for source in (layout_run(), street):
        model = LayoutModel(str(source))
        layout = painted(model)
        file = model.layout_file(layout)
        assert np.array_equal(model.of_upload(Upload("layout.png", file)), layout)
        assert np.array_equal(model.unpacked(model.packed(layout)), layout)
        with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
            assert picture.mode == "P" and np.array_equal(np.asarray(picture), layout)
            shown = ["#" + bytes(color.tolist()).hex() for color in np.asarray(picture.convert("RGB")).reshape(-1, 3)]
        assert shown == [model.classes[number].color for number in layout.ravel()]


@pytest.mark.parametrize(("count", "void", "colors", "mode"), [
    (3, 255, False, "P"), (256, None, False, "P"), (300, None, False, "I;16"), (3, 40_000, False, "I;16"),
    (300, 400, True, "RGB"),
])  # fmt: skip
def test_more_classes_than_a_palette_holds(
    layout_run: Callable[..., Path], count: int, void: int | None, colors: bool, mode: str
) -> None:
    """Read by the reader of the training's layouts."""
    model = LayoutModel(str(layout_run()))
    labels = count + (void is not None)
    table = np.stack([np.arange(labels) // 256, np.arange(labels) % 256, np.full(labels, 7)], axis=1).astype(np.uint8)
    model.classes, model._colors = model.classes[:1] * labels, table
    object.__setattr__(model.data, "void", void)
    model._reader = LayoutReader(count, void, ColorTable("colors.txt", table, [""] * labels) if colors else None)
    layout = np.arange(32 * 32).reshape(32, 32) % labels
    file = model.layout_file(layout)
    with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
        assert picture.mode == mode
    assert np.array_equal(model._reader.read(file, "layout.png"), layout)
    assert np.array_equal(model.unpacked(model.packed(layout)), layout)


def test_what_is_no_layout_is_one_line(layout_run: Callable[..., Path], street: Path) -> None:
    model, other = LayoutModel(str(layout_run())), LayoutModel(str(street))
    grey = np.zeros((32, 32), dtype=np.uint8)
    for found, upload, message in (
        (model, Upload("wide.png", png(grey[:16])), "wide.png: is 32x16, the model makes 32x32; a layout"),
        (model, Upload("high.png", png(grey + 10)), "high.png: value 10 at row 0, column 0 is out of range; .* allows 0 to 9"),
        (model, Upload("notes.txt", b"no picture"), "notes.txt: not a picture that can be read"),
        (model, Upload("color.png", png(np.zeros((32, 32, 3), dtype=np.uint8))), "color.png: is a picture of mode RGB"),
        (model, Upload("bomb.png", bomb()), "bomb.png: not a picture that can be read .*bomb"),
        (model, Upload("large.png", bytes(MAX_UPLOAD_BYTES + 1)), "large.png: .* bytes; at most"),
        (other, Upload("grey.png", png(np.full((16, 24, 3), 9, dtype=np.uint8))), "grey.png: is void everywhere"),
        (other, Upload("odd.png", png(np.full((16, 24, 3), 8, dtype=np.uint8))), "odd.png: colour 8 8 8 at row 0"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message) as error:
            found.of_upload(upload)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [
    ("!", "did not arrive whole"), (7, "did not arrive whole"), (["x"], "did not arrive whole"), ("AAAA", "has 3 pixels"),
])  # fmt: skip
def test_what_a_program_sends_is_checked(layout_run: Callable[..., Path], text: object, message: str) -> None:
    model = LayoutModel(str(layout_run()))
    with pytest.raises(InputError, match=message):
        model.unpacked(text)
    with pytest.raises(InputError, match="holds class 10; there are 0 to 9"):
        model.unpacked(model.packed(np.full(model.size, 10)))
    assert np.array_equal(model.unpacked(""), model.empty())


def test_what_are_no_styles_is_one_line(layout_run: Callable[..., Path], street: Path) -> None:
    model, noise = LayoutModel(str(layout_run())), LayoutModel(str(layout_run("generator.style=noise")))
    photo = Upload("3.png", photograph())
    for found, seeds, references, message in (
        (model, [], [], "1 to 8 seeds and pictures are shown at once, got 0"), (noise, range(9), [], "1 to 8 seeds are shown"),
        (model, [3], [photo], "two styles have the name '3'"), (noise, [], [photo], "has no image encoder"),
        (model, [], [Upload("x.png", b"text")], "x.png: not a picture that can be read"),
        (model, [], [Upload("x.png", photo.content[:90])], "x.png: not a picture that can be read"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            found.images(found.empty(), list(seeds), references)
    other = LayoutModel(str(street))
    with pytest.raises(InputError, match="void everywhere"):
        other.images(np.full(other.size, 3), [0])


def test_a_table_of_colours_that_is_gone_is_one_line(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Path(LayoutModel(str(street)).data.path or "") / "colors.txt"
    table.rename(table.with_suffix(".moved"))
    try:
        with pytest.raises(InputError, match=r"colors.txt: cannot be read \(No such file"):
            LayoutModel(str(street))
    finally:
        table.with_suffix(".moved").rename(table)
