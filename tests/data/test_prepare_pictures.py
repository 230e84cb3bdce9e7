"""Decoding, cropping and resizing: pixels against the definitions, and a reason for every picture that is refused."""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.data.image_folder import ImageFolderDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import Recipe, decode, encode
from sarigan.data.prepare.fit import UnfitPicture, fit_picture
from sarigan.data.prepare.job import Options, prepare
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture, decode_picture
from sarigan.visualization.editing import load_target

Noise = Callable[..., np.ndarray]


def to_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, color_type: int, rows: bytes) -> bytes:
    """A PNG file by its specification, for what Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def opened(data: bytes, alpha: str = "white") -> tuple[np.ndarray, list[str]]:
    image, notes = decode_picture(data, alpha)
    assert image.mode == "RGB"
    return np.asarray(image), notes


def resampled(pixels: np.ndarray, height: int, width: int, kind: str) -> np.ndarray:
    """The antialiased filters by definition, in float64: stretched by the factor, normalised, each pass rounded."""

    def weights(size: int, target: int) -> np.ndarray:
        factor = size / target
        x = (np.arange(size)[None, :] + 0.5) / factor - (np.arange(target)[:, None] + 0.5)
        if kind == "box":
            w = ((x > -0.5) & (x <= 0.5)).astype(np.float64)
        else:
            w = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
        return w / w.sum(axis=1, keepdims=True)

    rows = np.rint(np.tensordot(weights(pixels.shape[1], width), pixels, (1, 1))).clip(0, 255)  # [W',H,C]
    return np.rint(np.tensordot(weights(pixels.shape[0], height), rows, (1, 1))).clip(0, 255)


def test_rgb_is_untouched(noise: Noise) -> None:
    pixels = noise(9, 11)
    for data in (to_bytes(Image.fromarray(pixels)), to_bytes(Image.fromarray(pixels), "WEBP", lossless=True)):
        found, notes = opened(data)
        np.testing.assert_array_equal(found, pixels)
        assert notes == []


def test_grey_palette_and_bilevel(noise: Noise) -> None:
    grey = noise(8, 8, channels=1)
    found, notes = opened(to_bytes(Image.fromarray(grey)))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))
    assert notes == ["grey"]
    palette = Image.fromarray(grey // 64).convert("P")
    colors = noise(4, 1)[:, 0]
    palette.putpalette(colors.ravel().tolist())
    found, notes = opened(to_bytes(palette))
    np.testing.assert_array_equal(found, colors[grey // 64])
    assert notes == ["palette"]
    found, notes = opened(to_bytes(Image.fromarray(grey > 99)))
    np.testing.assert_array_equal(found[..., 1], np.where(grey > 99, 255, 0))
    assert notes == ["grey"]


def test_sixteen_bits(noise: Noise) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    found, notes = opened(to_bytes(Image.fromarray(values)))
    np.testing.assert_array_equal(found[..., 0], np.rint(values / 257))
    assert notes == ["16-bit grey"]
    colors = np.random.default_rng(1).integers(0, 65536, (8, 8, 3)).astype(">u2")
    found, notes = opened(png(8, 8, 16, 2, b"".join(b"\0" + row.tobytes() for row in colors)))
    np.testing.assert_array_equal(found, colors >> 8)
    assert notes == ["16-bit colour"]


def test_every_entrance_decodes_alike(noise: Noise, tmp_path: Path) -> None:
    """A folder, a zip file, a preparation and a projection: 16-bit grey, CMYK, EXIF orientation, transparency over white."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    ink = Image.fromarray(noise(16, 16)).convert("CMYK")
    rgba, turned = noise(16, 16, 1, channels=4), noise(16, 16, 2)
    alpha = rgba[..., 3:] / 255
    expected = [
        np.rint(grey * 255.0 / 65535)[..., None].repeat(3, 2),
        np.asarray(ink.convert("RGB")),
        alpha * rgba[..., :3] + (1 - alpha) * 255,
        np.rot90(turned, -1),
    ]
    root = tmp_path / "pictures"
    root.mkdir()
    Image.fromarray(grey).save(root / "0.png")
    ink.save(root / "1.tif")
    Image.fromarray(rgba).save(root / "2.png")
    Image.fromarray(turned).save(root / "3.png", exif=exif)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in root.iterdir():
            archive.write(path, path.name)
    prepare(str(root), tmp_path / "set", Recipe((16,)), Options(num_workers=1))
    folder, zipped = (ImageFolderDataset(path, 16) for path in (root, tmp_path / "z.zip"))
    prepared = LmdbDataset(tmp_path / "set")
    for index, pixels in enumerate(expected):
        assert np.abs(folder[index].transpose(1, 2, 0) - pixels).max() <= (index == 2)
        np.testing.assert_array_equal(zipped[index], folder[index])
        np.testing.assert_array_equal(prepared[index], folder[index])
        target = load_target(root / folder.names[index], 16)[0]
        np.testing.assert_array_equal(((target + 1) * 127.5).round().numpy(), folder[index])
    assert prepared.report()["converted"]["CMYK"] == 1


def test_transparency_follows_the_recipe(noise: Noise) -> None:
    rgba = noise(8, 8, channels=4)
    data, alpha = to_bytes(Image.fromarray(rgba)), rgba[..., 3:] / 255
    for policy, background in (("white", 255), ("black", 0)):
        found, notes = opened(data, policy)
        assert np.abs(found - (alpha * rgba[..., :3] + (1 - alpha) * background)).max() <= 1
        assert notes == [f"transparency over {policy}"]
    np.testing.assert_array_equal(opened(data, "drop")[0], rgba[..., :3])
    with pytest.raises(BrokenPicture, match="transparent pixels"):
        opened(data, "refuse")
    rgba[..., 3] = 255
    for policy in ("white", "black", "drop", "refuse"):
        found, notes = opened(to_bytes(Image.fromarray(rgba)), policy)
        np.testing.assert_array_equal(found, rgba[..., :3])
        assert notes == []


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1)), (8, lambda p: np.rot90(p)), (2, lambda p: p[:, ::-1])],
)
def test_exif_orientation(noise: Noise, orientation: int, upright: Callable[[np.ndarray], np.ndarray]) -> None:
    pixels = noise(9, 12)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, notes = opened(to_bytes(Image.fromarray(pixels), exif=exif))
    np.testing.assert_array_equal(found, upright(pixels))
    assert notes == ["turned as EXIF says"]


def test_refused_pictures_have_a_reason(noise: Noise) -> None:
    picture = Image.fromarray(noise(40, 40))
    frames = [Image.fromarray(noise(40, 40, seed)) for seed in range(3)]
    whole = {kind: to_bytes(picture, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}
    refused = {
        "empty file": [b""],
        "unknown or damaged image format": [b"this is no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"],
        r".*truncated.*|.*decode.*|.*read.*|.*damaged.*": [data[: len(data) // 2] for data in whole.values()],
        "Lab pixels; convert it to 8-bit RGB first": [to_bytes(picture.convert("LAB"), "TIFF")],
        "floating-point pixels; convert.*": [to_bytes(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")],
        "32-bit pixels; convert.*": [to_bytes(Image.fromarray(np.full((4, 4), 2**20, np.int32)), "TIFF")],
        "an animation or a stack of 3 pictures": [
            to_bytes(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in ("WEBP", "PNG", "TIFF", "GIF")
        ],
        "more than 134,217,728 pixels or a side over 65,535, perhaps a decompression bomb": [
            png(50_000, 50_000, 8, 2, b""),
            png(2**27, 1, 8, 2, b""),
            png(8192, 16_385, 8, 2, b""),
        ],
    }
    for reason, files in refused.items():
        for data in files:
            with pytest.raises(BrokenPicture) as caught:
                decode_picture(data, "white")
            message = str(caught.value)
            assert re.fullmatch(reason, message), message
            assert "\n" not in message


@pytest.mark.parametrize("kind", ["lanczos", "box"])
@pytest.mark.parametrize(("height", "width", "top", "left"), [(32, 32, 0, 0), (32, 41, 0, 4), (45, 33, 6, 0)])
def test_centre_crop_and_resize(noise: Noise, kind: str, height: int, width: int, top: int, left: int) -> None:
    pixels, side = noise(height, width), min(height, width)
    recipe = Recipe((16, 8), resize_filter=kind)
    for resolution in recipe.resolutions:
        found = np.asarray(fit_picture(Image.fromarray(pixels), recipe, resolution))
        expected = resampled(pixels[top : top + side, left : left + side], resolution, resolution, kind)
        if kind == "box" and side % resolution:
            continue  # which pixel a box's edge falls into is Pillow's choice
        assert np.abs(found - expected).max() <= 1
    np.testing.assert_array_equal(
        fit_picture(Image.fromarray(pixels), Recipe((side,), resize_filter=kind), side),
        pixels[top : top + side, left : left + side],
    )


def test_a_car_is_padded_as_the_paper_says(noise: Noise) -> None:
    """512x384 in 512x512: top and bottom 64 rows zero, the middle untouched; others are cut to 4:3 first."""
    recipe = Recipe((512,), crop="center_wide")
    car = noise(384, 512)
    found = np.asarray(fit_picture(Image.fromarray(car), recipe, 512))
    assert found.shape == (512, 512, 3)
    assert not found[:64].any() and not found[448:].any()
    np.testing.assert_array_equal(found[64:448], car)
    wide, tall = noise(768, 1200), noise(900, 1024)
    for picture, cut in ((wide, wide[:, 88:1112]), (tall, tall[66:834])):
        found = np.asarray(fit_picture(Image.fromarray(picture), recipe, 512))
        assert not found[:64].any() and not found[448:].any()
        assert np.abs(found[64:448] - resampled(cut, 384, 512, "lanczos")).max() <= 1


def test_fit_and_pad(noise: Noise) -> None:
    recipe = Recipe((32,), crop="pad")
    for height, width, rows, columns in ((64, 48, 32, 24), (40, 80, 16, 32), (64, 64, 32, 32)):
        pixels = noise(height, width)
        found = np.asarray(fit_picture(Image.fromarray(pixels), recipe, 32))
        top, left = (32 - rows) // 2, (32 - columns) // 2
        inside = found[top : top + rows, left : left + columns]
        assert np.abs(inside - resampled(pixels, rows, columns, "lanczos")).max() <= 1
        assert found.sum() == inside.sum()


def test_small_and_oblong_pictures(noise: Noise) -> None:
    small = Image.fromarray(noise(15, 40))
    for crop, size in (("center", "16x16"), ("center_wide", "32x24")):
        resolution = int(size.split("x")[0])
        with pytest.raises(UnfitPicture, match=f"is 40x15, too small for {size}"):
            fit_picture(small, Recipe((resolution,), crop=crop), resolution)
        assert fit_picture(small, Recipe((resolution,), crop=crop, enlarge=True), resolution).size == (resolution, resolution)
    with pytest.raises(UnfitPicture, match="too small"):
        fit_picture(small, Recipe((64,), crop="pad"), 64)
    with pytest.raises(BrokenPicture, match="is 40x15, not square; --crop center cuts the middle square"):
        fit_picture(small, Recipe((8,), crop="none"), 8)


@pytest.mark.parametrize("encoding", ["raw", "webp"])
@pytest.mark.parametrize("resolution", [1, 8, 33])
def test_encodings_are_exact(noise: Noise, encoding: str, resolution: int) -> None:
    ramp = np.arange(resolution, dtype=np.uint8)[:, None, None].repeat(resolution, 1).repeat(3, 2)
    for pixels in (noise(resolution, resolution), ramp, np.zeros_like(ramp), np.full_like(ramp, 255)):
        record = encode(Image.fromarray(pixels), encoding)
        found = decode(memoryview(record), resolution, encoding)
        np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))
        assert found.flags.writeable and found.flags.c_contiguous
    with pytest.raises((ValueError, OSError)):
        decode(record[:-1] if encoding == "raw" else record[:8], resolution, encoding)
    with pytest.raises((ValueError, OSError)):
        decode(record, resolution + 1, encoding)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolutions": (0,)}, "--resolution must be in 1..8192, got 0"),
        ({"resolutions": ()}, "--resolution needs at least one number of pixels, got none"),
        ({"resolutions": (8, 16, 8)}, "--resolution names 8 twice; once is right"),
        ({"crop": "middle"}, "crop must be one of none, center, center_wide, pad, got 'middle'"),
        ({"resize_filter": "cubic"}, "resize_filter must be one of lanczos, box, got 'cubic'"),
        ({"alpha": "grey"}, "alpha must be one of white, black, drop, refuse, got 'grey'"),
        ({"encoding": "jpeg"}, "encoding must be one of raw, webp, got 'jpeg'"),
    ],
)
def test_a_wrong_recipe_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe(**{"resolutions": (8,), **settings})
    assert str(caught.value) == message
