"""The report in a real browser: no errors, nothing fetched, the slider moves the picture, no sideways scrolling of the page."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import FLAGS, chromium

from sarigan.runs.run import train

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "report.py"


@pytest.fixture(scope="module")
def report(tiny_config: Callable[..., Any], png_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a finished run of 20 steps at 8 px."""
    run_dir = tmp_path_factory.mktemp("runs") / "a run & more"
    config = tiny_config("data.name=folder", f"data.path={png_folder}", "generator.resolution=16", "training.sample_kimg=0.04")
    train(config, run_dir)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(run_dir)], capture_output=True, text=True, cwd=SCRIPT.parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"report: {(run_dir / 'report.html').as_uri()} (")
    return run_dir / "report.html"


def test_whole_small_and_described(report: Path) -> None:
    page = report.read_text()
    assert len(page) < 15_000_000
    assert not re.findall(r"""(?:src|href)=["'](?!data:|\#)[^"']*""", page)
    assert "http://" not in page and "https://" not in page and "@import" not in page
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) > 5 and all(re.search(r'alt="[^"]{10,}"', image) for image in images)
    assert "a run &amp; more" in page and "SariGAN, similarity groups" in page
    for section in ("samples", "curves", "attention", "edits", "mixing", "configuration"):
        assert f'<section id="{section}">' in page
    for uri in re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page):
        assert base64.b64decode(uri)[8:12] == b"WEBP"


@pytest.fixture(params=[("light", 1280, 900), ("dark", 390, 844)], ids=["desktop", "phone-dark"])
def page(request: pytest.FixtureRequest, report: Path, tmp_path: Path) -> Any:
    """The report opened in a headless Chromium; console messages and addresses asked for are on the page object."""
    program = chromium()
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    scheme, width, height = request.param
    with api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=program, headless=True, args=FLAGS,
            color_scheme=scheme, viewport={"width": width, "height": height},
        )  # fmt: skip
        page = context.new_page()
        page.problems, page.asked = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda asked: page.asked.append(asked.url))
        page.goto(report.as_uri())
        page.wait_for_load_state("load")
        yield page, scheme, width
        context.close()


def test_in_a_browser(page: tuple[Any, str, int]) -> None:
    browser, scheme, width = page
    slider, image = browser.locator(".slider input"), browser.locator(".slider img")
    last = image.get_attribute("src")
    slider.focus()
    browser.keyboard.press("Home")
    first, alt = image.get_attribute("src"), image.get_attribute("alt")
    assert first != last and "after 0.0 thousand images" in alt
    assert browser.locator(".slider output").inner_text() == "0.0 thousand images"
    browser.keyboard.press("ArrowRight")
    assert image.get_attribute("src") not in (first, None)
    browser.keyboard.press("End")
    assert image.get_attribute("src") == last
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    loaded = browser.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0)))")
    assert len(loaded) > 5 and all(loaded)
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert shade < 60 if scheme == "dark" else shade > 220
    folded = "getComputedStyle(document.querySelector('.folds thead')).display"
    assert (browser.evaluate(folded) == "none") == (width < 500)
    hidden = "s => s.scrollLeft + s.clientWidth < s.scrollWidth - 1"
    cut = browser.evaluate(f"[...document.querySelectorAll('.sheet')].filter({hidden}).map(s => s.classList.contains('more'))")
    assert all(cut) and (len(cut) > 0) == (width < 500)
    assert browser.evaluate("document.querySelectorAll('.more').length") >= len(cut)
    browser.evaluate("document.querySelectorAll('.sheet').forEach(s => s.scrollLeft = 9999)")
    browser.wait_for_function("document.querySelectorAll('.sheet.more').length === 0")
    assert browser.problems == []
    assert [address for address in browser.asked if not address.startswith(("file:", "data:"))] == []
