"""A tab of a real browser, what it complains about, and what a person does in it."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import playwright.sync_api as playwright
import pytest
from chromium import FLAGS, chromium
from process_tools import MINUTE

PATIENCE = 1000 * MINUTE  # milliseconds, for a loaded machine
playwright.expect.set_options(timeout=PATIENCE)
# The edited picture is another one, or the slider is no longer where it was put.
CHANGED = """([before, slider, value]) => document.querySelectorAll('.sar-pictures img')[1]?.src !== before
  || (slider && Number(slider.value) !== value)"""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, a[href], img')].filter((part) => {
  if (!part.checkVisibility({ visibilityProperty: true }) || part.closest('[aria-hidden=true]')) return false;
  const labels = part.labels ? [...part.labels].map((label) => label.textContent).join('') : '';
  const named = part.getAttribute('aria-labelledby');
  const name = part.getAttribute('aria-label') || (named && document.getElementById(named)?.textContent) || labels
    || part.textContent || part.title || part.alt;
  return !(name && name.trim()) && !(part.tagName === 'IMG' && part.hasAttribute('alt'));
}).map((part) => part.outerHTML.slice(0, 200))"""


@dataclass
class Site:
    """A served model, and what must stay empty."""

    url: str
    source: str
    outside: list[str] = field(default_factory=list)  # addresses that this process reached out to


@dataclass
class Tab:
    """A page with what it complained about."""

    page: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """From here on, errors of the console and requests to other machines are complaints."""
        self.page.set_default_timeout(PATIENCE)

        def request(sent: Any) -> None:
            if not sent.url.startswith((self.url, "data:", "blob:")):
                self.complaints.append(f"request to {sent.url}")

        self.page.on("request", request)
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def picture(self) -> str:
        return str(self.page.locator(".sar-pictures img").nth(1).get_attribute("src"))

    def changes(self, action: Callable[[], Any]) -> str:
        """Waits until the action has changed the edited picture; gives the new one."""
        before = self.picture()
        action()
        self.page.wait_for_function(CHANGED, arg=[before, None, 0])
        return self.picture()

    def slides(self, name: str, value: float) -> str:
        """`changes` by a slider. While its tab opens, Gradio may put a slider back to its first value: then moved again."""
        before, control = self.picture(), self.page.get_by_label(f"range slider for {name}").first
        for _ in range(10):
            control.fill(str(value))
            self.page.wait_for_function(CHANGED, arg=[before, control.element_handle(), value])
            if self.picture() != before:
                return self.picture()
        raise AssertionError(f"the slider {name} does not stay at {value}")

    def sets(self, name: str, value: int) -> None:
        """A slider that changes no picture by itself; moved again where it was put back, as in `slides`."""
        control, stays = self.page.get_by_label(f"range slider for {name}").first, 0
        for _ in range(100):
            if control.input_value() != str(value):
                control.fill(str(value))
                stays = 0
            self.page.wait_for_timeout(100)
            stays += 1
            if stays > 10 and control.input_value() == str(value):
                return
        raise AssertionError(f"the slider {name} does not stay at {value}")

    def says(self, text: str, place: str = ".sar-message") -> None:
        playwright.expect(self.page.locator(place).filter(has_text=re.compile(text)).first).to_be_visible()

    def open(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def upload(self, name: str, content: bytes) -> None:
        """A photograph to the open tab; until the server has it, which links it."""
        self.page.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        self.page.locator(".file-preview a").first.wait_for()


def free_port() -> int:
    """A port of the loopback interface that nothing listened on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def open_browser() -> Iterator[Any]:
    """Chromium; skips where there is none."""
    program = chromium()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def addresses_reached() -> Iterator[list[str]]:
    """Addresses beyond this machine that this process tries to reach meanwhile, by name or number."""
    found: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def watched(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            found.append(str(address))
        return connect(self, address)

    def watched_look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", "0.0.0.0", None, b"127.0.0.1", ""):
            found.append(str(host))
        return look_up(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched)
        patch.setattr(socket, "getaddrinfo", watched_look_up)
        yield found


def keep_screenshot(tab: Tab, name: str) -> None:
    """Into the folder SARIGAN_SCREENSHOTS, where it is set."""
    if folder := os.environ.get("SARIGAN_SCREENSHOTS"):
        tab.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def saved(tab: Tab, name: str, folder: Path) -> Path:
    """A file that a link of the page saves."""
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name=f"Save {name}").click()
    download.value.save_as(folder / name)
    return folder / name
