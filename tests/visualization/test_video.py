"""Films: as many frames, of the right size, with the right content; no ffmpeg is one line."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.errors import InputError
from sarigan.visualization.samples import save_video

FRAMES = [np.full((16, 16, 3), level, dtype=np.uint8) for level in (0, 120, 240)]


def test_gif(tmp_path: Path) -> None:
    path = tmp_path / "new" / "film.gif"
    save_video(FRAMES, path, frames_per_second=10)
    with Image.open(path) as film:
        assert film.n_frames == 3 and film.size == (256, 256)
        for index, frame in enumerate(FRAMES):
            film.seek(index)
            assert film.info["duration"] == 100
            assert abs(np.array(film.convert("RGB")).mean() - frame.mean()) < 3


def test_mp4(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="the extra `video` is not installed")
    path = tmp_path / "film.mp4"
    save_video(FRAMES, path)
    reader = imageio_ffmpeg.read_frames(str(path))
    size = next(reader)["size"]
    assert size == (256, 256)
    means = [np.frombuffer(frame, dtype=np.uint8).mean() for frame in reader]
    assert np.allclose(means, [0, 120, 240], atol=4)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="a film is a .mp4 or a .gif file"):
        save_video(FRAMES, tmp_path / "film.avi")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"film.mp4: no ffmpeg for MP4; pip install -e \"\.\[video\]\""):
        save_video(FRAMES, tmp_path / "film.mp4")
