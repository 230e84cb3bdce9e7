"""A bar writes a few lines into a file, and redraws itself in place on a terminal."""

import io
import threading
from contextlib import suppress

import pytest
from process_tools import DEADLINE

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


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
@pytest.mark.parametrize("act", ["refresh", "clear"])
def test_a_bar_that_nobody_reads_keeps_no_other_thread_waiting(
    kind: type[io.StringIO], act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bars of a process share a lock."""

    def write(text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    file = kind()
    bar = progress.progress_bar(total=3, file=file, leave=False)
    with monkeypatch.context() as patch, suppress(BrokenPipeError):
        patch.setattr(file, "write", write)
        getattr(bar, act)()
    other = threading.Thread(target=lambda: progress.progress_bar(total=1, disable=True), daemon=True)
    other.start()
    other.join(DEADLINE)
    free = not other.is_alive()
    if not free:
        bar.get_lock().release()  # for the tests that follow
    bar.close()
    assert free
