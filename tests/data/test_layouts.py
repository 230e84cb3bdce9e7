"""Layouts out of files: every value checked, partners found, image and layout moved together."""

import dataclasses
import io
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.config import load_config
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.layouts.edges import instance_edges
from sarigan.data.layouts.files import ColorTable, LayoutReader, resized_numbers
from sarigan.data.layouts.folder import LayoutFolder, center_window
from sarigan.data.layouts.prepared import PreparedLayouts
from sarigan.data.lmdb.format import LayoutRecipe, Recipe
from sarigan.data.loader import training_batches
from sarigan.data.prepare.inspection import verify
from sarigan.data.prepare.job import Options, prepare
from sarigan.errors import InputError

SIZE = (16, 24)  # height, width


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, format="PNG")
    return buffer.getvalue()


def fill(folder: Path, count: int = 6, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """Images whose red channel is ten times the class, so that a layout can be checked against its image."""
    random, layouts = np.random.default_rng(0), {}
    for name in ("images/a", "labels/a", "instances/a"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        stem = f"a/{index:02d}" if index % 2 else f"{index:02d}"
        layout = random.integers(0, 4, (size[0] // 4, size[1] // 4)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
        layout[0, 0] = 255
        image = np.stack([np.minimum(layout, 20) * 10, layout * 0 + 7, layout * 0 + index], axis=2)
        (folder / f"images/{stem}.png").write_bytes(png(image))
        (folder / f"labels/{stem}.png").write_bytes(png(layout))
        (folder / f"instances/{stem}.png").write_bytes(png((layout.astype(np.int32) * 1000).astype(np.uint16)))
        layouts[stem] = layout
    return layouts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "set")
    return tmp_path / "set"


def config_of(path: Path, **settings: Any) -> LayoutDataConfig:
    return LayoutDataConfig(name="folder", path=str(path), num_workers=0, **{"num_classes": 4, "void": 255, **settings})


def opened(path: Path, size: tuple[int, int] = SIZE, **settings: Any) -> LayoutFolder:
    return LayoutFolder(path, size, config_of(path, **settings))


def test_pairs_by_path_and_void_as_the_last_class(folder: Path, tmp_path: Path) -> None:
    found = opened(folder)
    assert len(found) == 6 and found.names[0] == "images/00.png" and found.names[-1] == "images/a/05.png"
    assert found[0].shape == (3, 16, 24) and found.extras(0)["layout"].dtype == np.int64
    for index in range(6):
        layout = found.extras(index)["layout"]
        assert layout[0, 0] == 4 and layout.max() == 4
        inner = layout < 4
        assert np.array_equal(found[index][0][inner] // 10, layout[inner])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    zipped = opened(tmp_path / "set.zip")
    assert zipped.content_key == found.content_key
    assert all(np.array_equal(zipped.arrays(i)[name], found.arrays(i)[name]) for i in range(6) for name in ("images", "layout"))
    assert opened(folder, num_classes=5).content_key != found.content_key


def test_edges_of_a_toy_by_hand() -> None:
    instances = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [3, 3, 3, 3]])
    assert instance_edges(instances).tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert not instance_edges(np.full((3, 4), 70_000)).any()


def test_instances_become_edges(folder: Path) -> None:
    found = opened(folder, instances=True)
    arrays = found.arrays(2)
    numbers = np.where(arrays["layout"] == 4, 255, arrays["layout"])
    assert np.array_equal(arrays["edges"], instance_edges(numbers)) and arrays["edges"].dtype == np.uint8


def test_nearest_resizing_is_pillow_s() -> None:
    numbers = np.random.default_rng(0).integers(0, 200, (17, 31))
    for size in ((8, 10), (40, 33), (17, 31), (1, 1)):
        wanted = np.asarray(Image.fromarray(numbers.astype(np.int32)).resize(size[::-1], Image.Resampling.NEAREST))
        assert np.array_equal(resized_numbers(numbers, size), wanted)


def test_cut_of_the_wanted_aspect() -> None:
    assert center_window((100, 200), (50, 50)) == (0, 50, 100, 100)
    assert center_window((100, 100), (16, 32)) == (25, 0, 50, 100)


def test_flips_and_cuts_move_image_and_layout_together(folder: Path) -> None:
    config = config_of(folder, load_resolution=36, height=8, flip=True)
    dataset = config.open(24 // 2)
    assert dataset[0].shape == (3, 8, 12)
    batches = training_batches(dataset, config, seed=3, position=0, batch_size=24)
    batch, again = next(batches), next(training_batches(dataset, config, seed=3, position=0, batch_size=24))
    assert torch.equal(batch.images, again.images) and torch.equal(batch.layout, again.layout)
    inner = batch.layout < 4
    red = batch.images[:, 0].double() / 10
    # Bicubic mixes colours at borders of classes; most pixels are inside one.
    assert ((red - batch.layout).abs()[inner] < 0.5).double().mean() > 0.75
    shuffled = batch.layout.flip(2)
    assert ((red - shuffled).abs()[inner] < 0.5).double().mean() < 0.6
    same = [i for i in range(24) if int(batch.images[i, 2].median()) == 0]
    assert len({batch.layout[i].numpy().tobytes() for i in same}) > 1  # one image, other cuts


def test_avatars_have_their_part_masks() -> None:
    dataset = LayoutDataConfig().open(32)
    assert np.array_equal(dataset.extras(7)["layout"], AvatarDataset(32).mask(7))
    assert np.array_equal(dataset[7], AvatarDataset(32)[7]) and dataset.content_key == AvatarDataset(32).content_key


def test_colours_by_a_table(folder: Path) -> None:
    table = "64 128 64 Animal\n192,0,128\tArchway\n# a remark\n0 128 192 Bicyclist\n0 0 0\n\n10 10 10 void\n"
    (folder / "colors.txt").write_text(table)
    colors = ColorTable.parse(table, "colors.txt")
    assert colors.names == ["Animal", "Archway", "Bicyclist", "class 3", "void"]
    for path in (folder / "labels").rglob("*.png"):
        numbers = np.asarray(Image.open(path)).copy()
        path.write_bytes(png(colors.colors[np.where(numbers == 255, 4, numbers)]))
    found = opened(folder, colors="colors.txt")
    layout = found.extras(1)["layout"]
    assert layout[0, 0] == 4 and np.array_equal(found[1][0][layout < 4] // 10, layout[layout < 4])
    outside = folder.parent / "table.txt"
    outside.write_text(table)
    assert np.array_equal(opened(folder, colors=str(outside)).extras(1)["layout"], layout)
    with pytest.raises(InputError, match=r"colors.txt: has 5 colours, data.num_classes=7 and void needs another number"):
        opened(folder, colors="colors.txt", num_classes=7)
    odd = colors.colors[np.zeros(SIZE, dtype=int)]
    odd[3, 5] = (1, 2, 3)
    (folder / "labels" / "00.png").write_bytes(png(odd))
    with pytest.raises(InputError, match=r"00.png: colour 1 2 3 at row 3, column 5 is none of the 5 of colors.txt \(1 such"):
        opened(folder, colors="colors.txt")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 a\n1 2 300 b", "line 2 must be three numbers up to 255 and a name, got '1 2 300 b'"),
        ("1 2 3 a\n1 2 3 b", "line 2 gives 'b' the colour of 'a'"),
        ("# nothing", "holds no colour"),
        ("red", "line 1 must be three numbers"),
    ],
)
def test_tables_that_are_none(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"t.txt: {message}"):
        ColorTable.parse(text, "t.txt")


def write(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: (folder / "labels" / "00.png").write_bytes(png(pixels)) and None


def jpeg(folder: Path) -> None:
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(folder / "labels" / "00.png", format="JPEG")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (write(np.eye(*SIZE, dtype=np.uint8) * 57),
         r"00.png: value 57 at row 0, column 0 is out of range; data.num_classes=4 allows 0 to 3 and 255 \(void\) \(16 such"),
        (write(np.full(SIZE, 255, dtype=np.uint8)), "00.png: is void everywhere; a layout needs a pixel of a class"),
        (write(np.zeros((8, 8), dtype=np.uint8)), r"00.png: is 8x8, its image images/00.png is 24x16; they must be"),
        (write(np.zeros((*SIZE, 3), dtype=np.uint8)), "00.png: is a picture of mode RGB; labels are grey or palette numbers"),
        (jpeg, "00.png: not a readable layout .JPEG changes values; labels must be PNG"),
        (lambda folder: (folder / "labels" / "00.png").write_bytes(b"no picture"), "00.png: not a readable layout"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be(spoil: Callable[[Path], Any], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        opened(folder)[0]
    assert opened(folder)[1] is not None


def test_partners(folder: Path) -> None:
    (folder / "labels" / "02.png").unlink()
    with pytest.raises(InputError, match=r"images/02.png: has no partner labels/02.\* \(1 of 6 have none\)"):
        opened(folder)
    (folder / "images" / "02.png").unlink()
    (folder / "images" / "00.png").unlink()
    with pytest.raises(InputError, match=r"labels/00.png: has no partner images/00.\*"):
        opened(folder)
    (folder / "labels" / "00.png").unlink()
    assert len(opened(folder)) == 4
    (folder / "images" / "04.bmp").write_bytes((folder / "images" / "04.png").read_bytes())
    with pytest.raises(InputError, match="the same name but for its ending"):
        opened(folder)
    with pytest.raises(InputError, match="holds no pictures in images/; a set has images/ and labels/"):
        opened(folder / "labels")
    with pytest.raises(InputError, match="no such file or folder"):
        opened(folder / "absent")


def test_palettes_and_deep_numbers_are_numbers() -> None:
    numbers = np.arange(6, dtype=np.uint8).reshape(2, 3)
    palette = Image.fromarray(numbers, mode="P")
    palette.putpalette([200, 10, 30] * 256)
    buffer = io.BytesIO()
    palette.save(buffer, format="PNG")
    reader = LayoutReader(300)
    assert reader.read(buffer.getvalue(), "x").tolist() == numbers.tolist()
    assert reader.read(png(numbers.astype(np.uint16) + 290), "x").tolist() == (numbers + 290.0).astype(int).tolist()


def prepared(folder: Path, place: Path, recipe: Recipe, **settings: Any) -> PreparedLayouts:
    layouts = config_of(folder, **settings)
    recipe = dataclasses.replace(recipe, layout=layouts.recipe())
    prepare(str(folder), place, recipe, Options(num_workers=1, layouts=layouts))
    return PreparedLayouts(place, (recipe.resolutions[0],) * 2, dataclasses.replace(layouts, name="lmdb", path=str(place)))


def test_a_prepared_set_has_the_layouts_of_its_folder(folder: Path, tmp_path: Path) -> None:
    """Cut to the middle square and reduced as pictures are; every record under the hash, and checked when it is read."""
    found = prepared(folder, tmp_path / "set.lmdb", Recipe((8, 16), encoding="raw"), instances=True)
    plain = opened(folder, (8, 8), instances=True, crop="center")
    for index in range(6):
        arrays = plain.arrays(index)
        assert np.array_equal(found.extras(index)["layout"], arrays["layout"])
        assert found.extras(index)["edges"].shape == (8, 8) and found[index].shape == (3, 8, 8)
    large = PreparedLayouts(tmp_path / "set.lmdb", (16, 16), found_config := config_of(folder, instances=True))
    for index in range(6):
        whole = opened(folder, (16, 16), instances=True, crop="center").arrays(index)
        assert np.array_equal(large.extras(index)["layout"], whole["layout"])
        assert np.array_equal(large.extras(index)["edges"], whole["edges"]) and np.array_equal(large[index], whole["images"])
    verify(tmp_path / "set.lmdb")
    other = prepared(folder, tmp_path / "other.lmdb", Recipe((8, 16), encoding="raw"))
    assert other.content_key != found.content_key and "edges" not in other.extras(0)
    with pytest.raises(InputError, match="was prepared with data.num_classes=4, the configuration says 5"):
        PreparedLayouts(tmp_path / "set.lmdb", (8, 8), dataclasses.replace(found_config, num_classes=5))
    with pytest.raises(InputError, match="images of a prepared set are square, got 16x8"):
        PreparedLayouts(tmp_path / "set.lmdb", (8, 16), found_config)
    shutil.copytree(tmp_path / "set.lmdb", tmp_path / "damaged.lmdb")
    with closing(lmdb.open(str(tmp_path / "damaged.lmdb"))) as environment, environment.begin(write=True) as transaction:
        record = bytearray(transaction.get(b"00000002/00008.layout"))
        record[-1] ^= 1
        transaction.put(b"00000002/00008.layout", bytes(record))
    with pytest.raises(InputError, match="record 00000002/00008.layout is damaged .its SHA-256 differs."):
        PreparedLayouts(tmp_path / "damaged.lmdb", (8, 8), found_config).extras(2)
    with pytest.raises(InputError, match="record 00000002/00008.layout .images/04.png. is damaged"):
        verify(tmp_path / "damaged.lmdb")


def test_a_preparation_goes_on_and_stops_at_a_wrong_value(folder: Path, tmp_path: Path) -> None:
    bad = np.zeros(SIZE, dtype=np.uint8)
    bad[1, 2] = 77
    good = (folder / "labels" / "a" / "03.png").read_bytes()
    (folder / "labels" / "a" / "03.png").write_bytes(png(bad))
    recipe = Recipe((16,), encoding="raw")
    with pytest.raises(
        InputError, match="03.png: value 77 at row 1, column 2 is out of range; data.num_classes=4 allows 0 to 3"
    ):
        prepared(folder, tmp_path / "set.lmdb", recipe)
    (folder / "labels" / "a" / "03.png").write_bytes(good)
    first = prepared(folder, tmp_path / "fresh.lmdb", recipe)
    assert len(first) == 6 and first.extras(4)["layout"].max() <= 4
    avatars = LayoutDataConfig()
    drawn = Recipe((32,), layout=avatars.recipe())
    prepare("avatars", tmp_path / "avatars.lmdb", drawn, Options(num_workers=1, num_images=5, layouts=avatars))
    stored = PreparedLayouts(tmp_path / "avatars.lmdb", (32, 32), avatars)
    assert all(np.array_equal(stored.extras(i)["layout"], AvatarDataset(32).mask(i)) for i in range(5))
    assert all(np.array_equal(stored[i], AvatarDataset(32)[i]) for i in range(5))


def test_what_a_prepared_set_must_have(folder: Path, tmp_path: Path) -> None:
    prepare(str(folder / "images"), tmp_path / "plain.lmdb", Recipe((16,)), Options(num_workers=1))
    with pytest.raises(InputError, match="a prepared set without layouts; prepare it again with --num-classes"):
        PreparedLayouts(tmp_path / "plain.lmdb", (16, 16), config_of(folder))
    with pytest.raises(InputError, match="--crop pad leaves pixels of no class: with layouts it needs --void"):
        Recipe((16,), crop="pad", layout=LayoutRecipe(4))
    padded = prepared(folder, tmp_path / "padded.lmdb", Recipe((24,), crop="pad"))
    layout = padded.extras(0)["layout"]
    assert (layout[:4] == 4).all() and (layout[-4:] == 4).all() and (layout[6:12] < 4).any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.num_classes=9"], "data.num_classes: avatars have 10 parts"),
        (["data.instances=true"], "data.instances: avatars have 10 parts"),
        (["data.labels=hair"], "data.labels must be null: a layout says what the image is of, got 'hair'"),
        (["data.void=3"], "data.void must be a value that no class has, from num_classes = 10, or null, got 3"),
        (["data.height=48"], "data.height must be null or generator.height=None, got 48"),
    ],
)
def test_settings_that_do_not_fit(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(None, ["system=semantic_layout", *overrides])
