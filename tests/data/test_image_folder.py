"""image_folder: pixels against Pillow and against each other (zip and folder), and one line for each wrong input."""

import io
import multiprocessing
import os
import pickle
import re
import struct
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from sarigan.data import image_folder
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.errors import InputError


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(folder.rglob("*"), reverse=True):
            target.write(path, path.relative_to(folder).as_posix())
    return archive


REMEDY = "; remove it, or train on a set that scripts/prepare_data.py makes, which leaves such pictures out"


def fails_with(path: Path, message: str, resolution: int = 8, crop: str = "none", index: int | None = None) -> None:
    """Construction (or, with an index, that item) raises one line that matches the whole of `message`."""
    with pytest.raises(InputError) as caught:
        dataset = ImageFolderDataset(path, resolution, crop)
        if index is not None:
            dataset[index]
    found = str(caught.value).replace(REMEDY, "")
    assert re.fullmatch(message, found), found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four 16x16 images in two subfolders, among what has to be skipped."""
    root = tmp_path / "images"
    save(root / "b" / "2.PNG", noise(16, 16, 2))
    save(root / "b" / "10.bmp", noise(16, 16, 10))
    save(root / "a.webp", noise(16, 16, 1), lossless=True)
    save(root / "Z.TiFF", noise(16, 16, 3), format="TIFF")
    save(root / ".hidden.png", noise(4, 4))
    save(root / ".cache" / "x.png", noise(4, 4))
    save(root / "__MACOSX" / "b" / "2.png", noise(4, 4))
    (root / "readme.txt").write_text("no image")
    return root


def test_names_are_recursive_and_sorted_by_posix_path(folder: Path) -> None:
    dataset = ImageFolderDataset(folder, 16)
    assert dataset.names == ["Z.TiFF", "a.webp", "b/10.bmp", "b/2.PNG"]
    for index, seed in enumerate([3, 1, 10, 2]):
        assert dataset[index].dtype == np.uint8 and dataset[index].flags.c_contiguous
        np.testing.assert_array_equal(dataset[index], noise(16, 16, seed).transpose(2, 0, 1))


def test_zip_equals_folder(folder: Path, tmp_path: Path) -> None:
    from_folder, from_zip = (ImageFolderDataset(p, 8) for p in (folder, zip_folder(folder, tmp_path / "images.zip")))
    assert from_zip.names == from_folder.names and len(from_zip) == len(from_folder) == 4
    np.testing.assert_array_equal([*from_zip], [*from_folder])


def test_larger_images_are_reduced_with_lanczos(tmp_path: Path) -> None:
    """Against the filter's definition: separable, a = 3, stretched by the factor, normalised, each pass rounded."""
    pixels = noise(32, 32)
    save(tmp_path / "x.png", pixels)
    factor = 4
    positions = (np.arange(32)[None, :] + 0.5) / factor - (np.arange(8)[:, None] + 0.5)
    weights = np.where(np.abs(positions) < 3, np.sinc(positions) * np.sinc(positions / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.rint(np.einsum("ow,hwc->hoc", weights, pixels)).clip(0, 255)
    expected = np.rint(np.einsum("oh,hwc->cow", weights, rows)).clip(0, 255)
    assert np.abs(ImageFolderDataset(tmp_path, 8)[0] - expected).max() <= 1


@pytest.mark.parametrize(("height", "width", "top", "left"), [(16, 20, 0, 2), (21, 16, 2, 0), (16, 16, 0, 0)])
def test_center_crop(tmp_path: Path, height: int, width: int, top: int, left: int) -> None:
    pixels = noise(height, width)
    save(tmp_path / "x.png", pixels)
    save(tmp_path / "y.png", noise(40, 33))
    dataset = ImageFolderDataset(tmp_path, 16, crop="center")
    np.testing.assert_array_equal(dataset[0], pixels[top : top + 16, left : left + 16].transpose(2, 0, 1))
    assert dataset[1].shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (3, lambda p: p[::-1, ::-1]),
        (6, lambda p: np.rot90(p, -1)),
        (8, lambda p: np.rot90(p)),
        (2, lambda p: p[:, ::-1]),
    ],
)
def test_exif_orientation(tmp_path: Path, orientation: int, upright: object) -> None:
    pixels = noise(16, 16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "x.png", pixels, exif=exif)
    np.testing.assert_array_equal(ImageFolderDataset(tmp_path, 16)[0], upright(pixels).transpose(2, 0, 1))


def test_gray_palette_transparent_and_16_bit_images_become_rgb(tmp_path: Path) -> None:
    gray, rgba = noise(16, 16, channels=1), noise(16, 16, channels=4)
    save(tmp_path / "1.png", gray)
    save(tmp_path / "2.png", gray.astype(np.uint16) * 257)
    save(tmp_path / "3.png", rgba)
    palette = Image.fromarray(gray // 64).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    palette.save(tmp_path / "4.png", transparency=0)
    dataset = ImageFolderDataset(tmp_path, 16)
    np.testing.assert_array_equal(dataset[0], np.broadcast_to(gray, (3, 16, 16)))
    np.testing.assert_array_equal(dataset[1], dataset[0])
    alpha = rgba[..., 3:] / 255
    over_white = alpha * rgba[..., :3] + (1 - alpha) * 255
    assert np.abs(dataset[2].transpose(1, 2, 0) - over_white).max() <= 1
    assert set(map(tuple, dataset[3].reshape(3, -1).T.tolist())) <= {
        (255, 255, 255), (40, 50, 60), (70, 80, 90), (100, 110, 120),
    }  # fmt: skip
    assert (dataset[3][:, gray < 64] == 255).all()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_pickles_reopen_the_zip(folder: Path, tmp_path: Path, method: str) -> None:
    dataset = ImageFolderDataset(zip_folder(folder, tmp_path / "images.zip"), 16)
    here = [dataset[index] for index in range(4)]
    np.testing.assert_array_equal([*pickle.loads(pickle.dumps(dataset))], here)
    # No Pool: it ends by a signal, which a worker that is just being forked may lose, and then waits for ever.
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        there = [*pool.map(dataset.__getitem__, [0, 1, 2, 3] * 8)]
    np.testing.assert_array_equal(there, here * 8)


def test_content_key_and_description(folder: Path, tmp_path: Path) -> None:
    archive = zip_folder(folder, tmp_path / "images.zip")
    keys = {ImageFolderDataset(folder, r, c).content_key for r in (8, 16) for c in ("none", "center")}
    assert len(keys) == 4
    before = ImageFolderDataset(folder, 8).content_key
    os.utime(folder / "a.webp", (1, 1))
    assert before == ImageFolderDataset(folder, 8).content_key == ImageFolderDataset(archive, 8).content_key
    first = folder / ImageFolderDataset(folder, 8).names[0]
    content = first.read_bytes()
    first.write_bytes(content + b"\0")
    assert ImageFolderDataset(folder, 8).content_key != before
    first.write_bytes(content)
    assert ImageFolderDataset(folder, 8).content_key == before
    first.rename(first.with_name(f"0{first.name}"))
    assert ImageFolderDataset(folder, 8).content_key != before


def test_content_key_reads_a_few_images_of_many(png_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ImageFolderDataset(png_folder, 16)
    opened: list[str] = []

    def recorded(path: Path, mode: str) -> BinaryIO:
        opened.append(path.name)
        return io.BytesIO(b"content")

    monkeypatch.setattr(image_folder, "open", recorded, raising=False)
    for count, indices in ((64, range(24)), (10, range(0, 24, 3))):
        monkeypatch.setattr(image_folder, "KEY_IMAGES", count)
        opened.clear()
        _ = dataset.content_key
        assert opened == [f"{index:03d}.png" for index in indices]


def test_describe_a_zip_file(folder: Path, tmp_path: Path) -> None:
    archive = zip_folder(folder, tmp_path / "images.zip")
    assert ImageFolderDataset(archive, 8).describe() == f"image_folder: 4 images, 8x8, zip {archive}, crop none"


def test_wrong_paths(tmp_path: Path) -> None:
    fails_with(tmp_path / "nowhere", r".*/nowhere: no such file or folder")
    (tmp_path / "notes.txt").write_text("hello")
    fails_with(tmp_path / "notes.txt", r".*/notes\.txt: neither a folder nor a zip file")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    fails_with(tmp_path / "broken.zip", r".*/broken\.zip: not a readable zip file \(.+\); copy or download it again")
    fails_with(tmp_path, r".*: no images found; looked for \.png .*\.tiff")


def test_wrong_arguments(folder: Path) -> None:
    fails_with(folder, 'data.crop must be "none" or "center", got "middle"', crop="middle")
    fails_with(folder, "generator.resolution must be at least 1, got 0", resolution=0)
    for index in (-1, 4):
        with pytest.raises(IndexError, match="out of range for 4 images"):
            ImageFolderDataset(folder, 16)[index]


def test_wrong_sizes(tmp_path: Path) -> None:
    save(tmp_path / "wide" / "0.png", noise(16, 20))
    fails_with(tmp_path / "wide", r".*/wide/0\.png: is 20x16, not square; data\.crop=center cuts squares")
    save(tmp_path / "mixed" / "0.png", noise(16, 16))
    save(tmp_path / "mixed" / "1.png", noise(20, 20))
    message = r"1\.png: is 20x20, the first image is 16x16; data\.crop=center accepts mixed sizes"
    fails_with(tmp_path / "mixed", ".*/mixed/" + message, index=1)
    fails_with(zip_folder(tmp_path / "mixed", tmp_path / "mixed.zip"), r".*/mixed\.zip: " + message, index=1)
    assert ImageFolderDataset(tmp_path / "mixed", 16, "center")[1].shape == (3, 16, 16)
    for crop in ("none", "center"):
        too_small = r".*/mixed/0\.png: is 16x16, smaller than generator\.resolution=32"
        fails_with(tmp_path / "mixed", too_small, resolution=32, crop=crop)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_damaged_images(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "images"
    save(root / f"0{suffix}", noise(64, 64))
    whole = save(root / f"1{suffix}", noise(64, 64)).read_bytes()
    (root / f"1{suffix}").write_bytes(whole[: len(whole) // 2])
    (root / f"2{suffix}").write_bytes(b"this is no image")
    (root / f"3{suffix}").write_bytes(b"")
    archive = zip_folder(root, tmp_path / "images.zip")
    for index in (1, 2, 3):
        name = re.escape(f"{index}{suffix}")
        fails_with(root, rf".*/images/{name}: not a readable image \([^<>\n]+\)", index=index)
        fails_with(archive, rf".*/images\.zip: {name}: not a readable image \([^<>\n]+\)", index=index)


def test_damaged_zip_member(folder: Path, tmp_path: Path) -> None:
    archive = zip_folder(folder, tmp_path / "images.zip")
    data = bytearray(archive.read_bytes())
    start = data.index(b"b/10.bmp") + 300
    data[start] ^= 0xFF
    archive.write_bytes(bytes(data))
    fails_with(archive, r".*/images\.zip: b/10\.bmp: not a readable image \(Bad CRC-32.*\)", index=2)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"


def test_postscript_in_a_png_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    root = tmp_path / "images"
    root.mkdir()
    (root / "x.png").write_bytes(POSTSCRIPT)
    fails_with(root, r".*/x\.png: not a readable image \(unknown or damaged image format\)")
    archive = zip_folder(root, tmp_path / "images.zip")
    fails_with(archive, r".*\.zip: x\.png: not a readable image \(unknown or damaged image format\)")
    assert started == []


def test_every_flipped_bit_of_a_png_is_noticed(tmp_path: Path) -> None:
    """CRC-32 finds every single bit; Pillow alone takes some for another picture."""
    whole = save(tmp_path / "x.png", noise(8, 8)).read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x.png").write_bytes(flipped)
        fails_with(tmp_path, r".*/x\.png: not a readable image \(.+\)")


def test_bombs(tmp_path: Path) -> None:
    """A header alone claims the pixels, a zip member the bytes; neither is taken at its word."""
    head = struct.pack(">IIBBBBB", 2**27, 1, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    root = tmp_path / "images"
    root.mkdir()
    (root / "x.png").write_bytes(bomb)
    pixels = "more than 134,217,728 pixels or a side over 65,535, perhaps a decompression bomb"
    fails_with(root, rf".*/x\.png: not a readable image \({pixels}\)")
    archive = zip_folder(root, tmp_path / "images.zip")
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\1\2") + 24  # size in the list of members
    data[at : at + 4] = struct.pack("<I", 2**30)
    archive.write_bytes(data)
    fails_with(archive, r".*\(1,073,741,824 bytes, perhaps a decompression bomb; at most 536,870,912 are read\)")


def test_linked_folders_are_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "deep" / "7.png", noise(16, 16, 7))
    os.symlink(tmp_path / "elsewhere", folder / "linked")
    os.symlink(folder, folder / "b" / "up")
    os.symlink("itself", folder / "itself")
    dataset = ImageFolderDataset(folder, 16)
    assert dataset.names == ["Z.TiFF", "a.webp", "b/10.bmp", "b/2.PNG", "linked/deep/7.png"]
    np.testing.assert_array_equal(dataset[4], noise(16, 16, 7).transpose(2, 0, 1))


def test_what_cannot_be_opened_is_said_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    fails_with(tmp_path, r".*/x\.png: not a readable image \(not a regular file\)")
    fails_with(tmp_path / "x.png", r".*/x\.png: a pipe, socket or device; a regular file or a folder is right")
    fails_with(tmp_path / ("x" * 5000), r"/[^\n]{199}\.\.\.: cannot be read \(File name too long\)")
    fails_with(tmp_path / "a\0b", r"'/.*a\\x00b': cannot be read \(.+\)")


def test_real_cats(real_data: Path) -> None:
    path = real_data / "cats128.zip"
    if not path.is_file():
        pytest.skip(f"no {path}")
    dataset = ImageFolderDataset(path, 128)
    small = ImageFolderDataset(path, 64)
    assert len(dataset) > 1000
    with zipfile.ZipFile(path) as archive:
        for index in (0, len(dataset) // 2, len(dataset) - 1):
            with archive.open(dataset.names[index]) as member:
                original = np.asarray(Image.open(member).convert("RGB"))
            np.testing.assert_array_equal(dataset[index], original.transpose(2, 0, 1))
            halved = dataset[index].reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))
            assert np.abs(small[index] - halved).mean() < 6  # Lanczos is sharper than a box, but the same picture
