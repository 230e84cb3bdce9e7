"""The origin in a PNG file: what Pillow reads of it is what was written, and a mixture is told from one origin."""

from pathlib import Path

import pytest
from PIL import Image

from sarigan.files.picture_origin import HEAD_BYTES, mixture_warning, origin_chunk, read_origin

ORIGIN = {"checkpoint": "ab" * 32, "psi": 0.7, "noise": "fresh", "seed": 3, "commit": "c0ffee"}


def head(path: Path, **changes: object) -> bytes:
    Image.new("RGB", (8, 8)).save(path, pnginfo=origin_chunk({**ORIGIN, **changes}))
    return path.read_bytes()[:HEAD_BYTES]


def test_read_back_by_pillow_and_from_the_first_bytes(tmp_path: Path) -> None:
    found = head(tmp_path / "a.png")
    assert read_origin(found) == ORIGIN
    assert '"psi": 0.7' in Image.open(tmp_path / "a.png").info["sarigan"]
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    for name in ("plain.png", "plain.jpg"):
        assert read_origin((tmp_path / name).read_bytes()) is None
    assert [read_origin(found[:length]) for length in range(60)] == [None] * 60  # cut off anywhere


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"psi": 1.0}, ["2 models or settings", "2 of checkpoint abababababab, noise fresh, psi 0.7", "psi 1.0"]),
        ({"checkpoint": "cd" * 32}, ["checkpoint cdcdcdcdcdcd"]),
        ({"seed": 4, "commit": "other", "class": "red"}, []),
    ],
)  # fmt: skip
def test_mixture(tmp_path: Path, changes: dict[str, object], words: list[str]) -> None:
    heads = [head(tmp_path / "a.png"), head(tmp_path / "b.png", seed=9), head(tmp_path / "c.png", **changes)]
    found = mixture_warning(heads, "folder")
    assert (found is None) == (not words)
    assert all(word in (found or "") for word in words)


def test_images_of_other_programs(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    plain = (tmp_path / "plain.png").read_bytes()
    assert mixture_warning([plain, plain], "folder") is None
    assert "1 of unknown origin" in (mixture_warning([plain, head(tmp_path / "a.png")], "folder") or "")
