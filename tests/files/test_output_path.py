"""Places for results: refused at once when nothing can be written there, with one line that names place and option."""

import errno
import os
from pathlib import Path

import pytest

from sarigan.errors import InputError
from sarigan.files.paths import output_file, output_folder


def test_a_folder_is_there_at_once_and_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        assert list((tmp_path / "a" / "b").iterdir()) == []
    assert (tmp_path / "a" / "b").is_dir()


def test_a_failing_block_leaves_what_it_wrote_and_nothing_empty(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    for name in ("before/a/b", "c"):
        with pytest.raises(InputError, match="^no such layer$"), output_folder(tmp_path / name):
            raise InputError("no such layer")
    assert [path.name for path in tmp_path.iterdir()] == ["before"] and not list((tmp_path / "before").iterdir())
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "d"):
        (tmp_path / "d" / "half.png").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "d" / "half.png").is_file()


def test_a_file_in_its_place_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_text("kept")
    with pytest.raises(InputError), output_file(path):
        raise InputError("later")
    assert path.read_text() == "kept"
    with output_file(path, "--save"):
        path.write_text("new")


def test_a_disk_that_fills_while_writing(tmp_path: Path) -> None:
    expected = r"out: cannot write there \(No space left on device\); name another place with --output$"
    with pytest.raises(InputError, match=expected), output_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(InputError, match=r"out/images: cannot write there \(File exists\)"), output_folder(tmp_path / "out"):
        (tmp_path / "out" / "images").write_text("")
        (tmp_path / "out" / "images").mkdir()


def test_errors_of_other_files_are_not_of_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "out"):
        (tmp_path / "weights.pt").read_bytes()
