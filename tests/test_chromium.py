"""The browser of tests: which one is taken, and an attempt to download one ends."""

import sys
from collections.abc import Callable
from pathlib import Path

import chromium
import pytest
from chromium import NoBrowser, downloaded_browser, installed_browser


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """program(name, line): a shell script on a PATH of its own."""

    def make(name: str, line: str = "exit 0") -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return path

    return make


def test_the_installed_one_comes_first(program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SARIGAN_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_browser() is None
    chrome = program("google-chrome")
    assert installed_browser() == str(chrome)
    own = program("chromium")
    assert installed_browser() == str(own)
    monkeypatch.setenv("SARIGAN_CHROMIUM", str(chrome))
    assert installed_browser() == str(chrome)
    monkeypatch.setenv("SARIGAN_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(NoBrowser, match=r"SARIGAN_CHROMIUM=.*none is no program"):
        installed_browser()


def test_a_download_that_hangs_or_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it started ends with it: the fixture of all tests looks."""
    monkeypatch.setattr(chromium, "_place", lambda: tmp_path / "chrome")
    child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])"
    with pytest.raises(NoBrowser, match=r"took longer than 0.5 s: apt-get install chromium"):
        downloaded_browser([sys.executable, "-c", f"{child}; time.sleep(3600)"], 0.5)
    for code in ("raise SystemExit(1)", "pass"):
        with pytest.raises(NoBrowser, match="its download failed"):
            downloaded_browser([sys.executable, "-c", code], 60)


def test_the_downloaded_one_has_to_start(monkeypatch: pytest.MonkeyPatch, program: Callable[..., Path], tmp_path: Path) -> None:
    monkeypatch.setattr(chromium, "_place", lambda: tmp_path / "chrome")
    install = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write('#!/bin/sh')", str(tmp_path / "chrome")]
    with pytest.raises(NoBrowser, match="does not start"):  # not executable, as one without its libraries
        downloaded_browser(install, 60)
    good = program("chrome")
    assert downloaded_browser(["no program"], 60) == str(good)  # it is there: nothing is downloaded
