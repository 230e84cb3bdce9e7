"""The browser of tests: SARIGAN_CHROMIUM, one that is installed, or Playwright's own, whose download is tried once a run.

Without a network the attempt ends within its bound of time, and what needs a browser is skipped with the reason.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from process_tools import MINUTE, running

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
INSTALL = (sys.executable, "-m", "playwright", "install", "--no-shell", "chromium")
BOUND = 3 * MINUTE
REMEDY = "apt-get install chromium, or name one in SARIGAN_CHROMIUM"


class NoBrowser(Exception):
    """Why there is none."""


def chromium() -> str:
    """The program, for Playwright's `executable_path`. Skips the test where there is none, and where Playwright is missing."""
    found = _found()
    if isinstance(found, NoBrowser):
        pytest.skip(str(found))
    return found


@cache
def _found() -> str | NoBrowser:
    if importlib.util.find_spec("playwright") is None:
        return NoBrowser("the browser is driven by Playwright: pip install playwright")
    try:
        return installed_browser() or downloaded_browser()
    except NoBrowser as reason:
        return reason


def installed_browser() -> str | None:
    """The one that SARIGAN_CHROMIUM names, else the first on PATH. NoBrowser where the variable names no program."""
    named = os.environ.get("SARIGAN_CHROMIUM")
    if named is not None and shutil.which(named) is None:
        raise NoBrowser(f"SARIGAN_CHROMIUM={named} is no program")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), None)


def downloaded_browser(install: Sequence[str] = INSTALL, bound: float = BOUND) -> str:
    """Playwright's own, downloaded where it is not there yet. NoBrowser where that fails or takes longer (bound: seconds)."""
    path = _place()
    if not path.is_file():
        with running(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as process:
            try:
                code = process.wait(bound)
            except subprocess.TimeoutExpired:
                raise NoBrowser(f"no Chromium, and its download took longer than {bound:g} s: {REMEDY}") from None
        if code or not path.is_file():
            raise NoBrowser(f"no Chromium, and its download failed ({' '.join(install[2:])}): {REMEDY}")
    try:
        subprocess.run([path, "--version"], check=True, capture_output=True, timeout=MINUTE)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBrowser(f"Playwright's Chromium does not start ({error}): {REMEDY}") from None
    return str(path)


def _place() -> Path:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        return Path(driver.chromium.executable_path)
