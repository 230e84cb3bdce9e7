"""sarigan prepare_masks: a mask for each image, the same again, and one line for what is wrong."""

import sys
from pathlib import Path

import pytest

from sarigan.commands.prepare_masks import main
from sarigan.data.mask_files import MaskFolder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_masks", *arguments])
    main()


def test_one_mask_for_each_image(
    png_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (str(tmp_path / "masks"), "--images", str(png_folder), "--resolution", "16", "--kind", "box")
    run(monkeypatch, *command)
    assert "24 new masks of 24, mean hole" in capsys.readouterr().out
    folder = MaskFolder(tmp_path / "masks", 16)
    assert folder.names == [f"{index:03d}.png" for index in range(24)]
    first = folder.mask("000.png").tobytes()
    run(monkeypatch, *command)
    assert "0 new masks of 24" in capsys.readouterr().out and folder.mask("000.png").tobytes() == first
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *command, "--seed", "1")
    assert end.value.code == 2 and "the masks there were drawn with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--resolution", "16"), "either --images or --num-masks"),
        (("--resolution", "4", "--num-masks", "2"), "--resolution must be 8 to 8192, got 4"),
        (("--resolution", "16", "--num-masks", "0"), "--num-masks must be 1 to 1,000,000, got 0"),
        (("--resolution", "16", "--num-masks", "2", "--kind", "file"), "--kind must be one of center"),
        (("--resolution", "16", "--num-masks", "2", "--min-hole", "0.9", "--max-hole", "0.1"), "0 <= min_hole < max_hole"),
        (("--resolution", "16", "--images", "/nowhere"), "/nowhere: no such file or folder"),
        (("--resolution", "16", "--num-masks", "2", "--seed", "-1"), "--seed must be 0 to"),
    ],
)
def test_bad_options_are_one_line(
    arguments: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, str(tmp_path / "masks"), *arguments)
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1
    assert not (tmp_path / "masks").exists()
