"""A bar writes a few lines into a file, and redraws itself in place on a terminal."""

import io

import pytest

from sarigan import progress


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_lines_in_a_file() -> None:
    file = io.StringIO()
    for _ in progress.progress_bar(range(5000), desc="images", file=file, mininterval=0):
        pass
    lines = file.getvalue().splitlines()
    assert "\r" not in file.getvalue() and 1 < len(lines) < 5
    assert "0/5000" in lines[0] and "5000/5000" in lines[-1] and all(line.startswith("images: ") for line in lines)


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    file = io.StringIO()
    bar = progress.progress_bar(total=3, file=file, miniters=1)
    for _ in range(3):
        bar.update()
    bar.close()
    assert [line.split("/3")[0].split()[-1] for line in file.getvalue().splitlines()][:4] == ["0", "1", "2", "3"]


def test_in_place_on_a_terminal() -> None:
    file = Terminal()
    for _ in progress.progress_bar(range(3), file=file):
        pass
    assert "\r" in file.getvalue()
    silent = io.StringIO()
    for _ in progress.progress_bar(range(3), file=silent, disable=True):
        pass
    assert silent.getvalue() == ""
