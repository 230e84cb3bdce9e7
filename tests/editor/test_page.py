"""The page in a real browser: what a person does works, says what is wrong in one line, and reaches no other machine.

Skipped with the reason where Gradio, Playwright or Chromium is missing (`apt-get install chromium`). SARIGAN_CHROMIUM names
another browser, SARIGAN_SCREENSHOTS a folder that keeps what the page looked like.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright: pip install playwright")

from process_tools import MINUTE  # noqa: E402
from upload_pictures import bomb, photograph  # noqa: E402

from sarigan.editor.model import EditedModel  # noqa: E402
from sarigan.editor.server import Address, open_model, served  # noqa: E402
from sarigan.layers.intervention import Intervention  # noqa: E402
from sarigan.pretrained import load_generator  # noqa: E402

CHROMIUM = os.environ.get("SARIGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium: apt-get install chromium, or name one in SARIGAN_CHROMIUM", allow_module_level=True)

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
PATIENCE = 1000 * MINUTE  # milliseconds, for a loaded machine
playwright.expect.set_options(timeout=PATIENCE)
# The edited picture is another one, or the slider is no longer where it was put.
CHANGED = """([before, slider, value]) => document.querySelectorAll('.sar-pictures img')[1]?.src !== before
  || (slider && Number(slider.value) !== value)"""
LAYER = "16x16.up"  # that the page shows first: the middle one
STRENGTH = "Strength"

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
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def outside() -> Iterator[list[str]]:
    """Addresses beyond this machine that this process tries to reach, by name or number."""
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


@pytest.fixture
def browser() -> Iterator[Any]:
    """One for each test, since it starts processes as it goes."""
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(exported: Callable[..., Path], outside: list[str]) -> Iterator[Site]:
    source = str(exported())
    with served(EditedModel(source), Address(port=free_port())) as url:
        yield Site(url, source, outside)


@pytest.fixture
def tab(site: Site, browser: Any) -> Iterator[Tab]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield open_tab(context, site)


def open_tab(context: Any, site: Site) -> Tab:
    tab = Tab(context.new_page(), site.url)
    tab.listen()
    tab.page.goto(site.url)
    tab.page.wait_for_selector(".sar-pictures img")
    tab.page.wait_for_selector(".sar-cards button")
    return tab


def keep_screenshot(tab: Tab, name: str) -> None:
    if folder := os.environ.get("SARIGAN_SCREENSHOTS"):
        tab.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def saved(tab: Tab, name: str, folder: Path) -> Path:
    """A file that a link of the page saves."""
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name=f"Save {name}").click()
    download.value.save_as(folder / name)
    return folder / name


def test_a_person_edits_saves_and_goes_on(tab: Tab, site: Site, tmp_path: Path) -> None:
    page, plain = tab.page, tab.picture()
    first = tab.slides(STRENGTH, 3)
    tab.says("strength h of group 0", ".sar-edits")
    page.locator(".sar-cards button").nth(1).click()
    playwright.expect(page.locator(".sar-cards button").nth(1)).to_have_attribute("aria-checked", "true")
    playwright.expect(page.get_by_label(f"range slider for {STRENGTH}").first).to_have_value("1")
    both = tab.slides("Look", -2)
    assert len({plain, first, both}) == 3
    playwright.expect(page.locator(".sar-edits li")).to_have_count(2)
    keep_screenshot(tab, "desktop")

    assert tab.changes(lambda: tab.press("Undo")) == first
    assert tab.changes(lambda: tab.press("Undo")) == plain
    assert tab.changes(lambda: tab.press("Redo")) == first
    assert tab.changes(lambda: tab.press("Redo")) == both

    box = page.locator(".sar-edits input[type=checkbox]").first
    assert tab.changes(box.uncheck) not in (plain, first, both)
    assert tab.changes(page.locator(".sar-edits input[type=checkbox]").first.check) == both

    tab.open("Save and load")
    tab.press("Make the files of this picture")
    edits, png = (saved(tab, name, tmp_path) for name in ("edits.json", "edited.png"))
    content = json.loads(edits.read_text())
    assert [edit["code"] for edit in content["edits"]] == ["h", "z"] and content["picture"]["seed"] == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "sarigan generate" in page.get_by_label("The command that makes the same picture").input_value()

    mixed = tab.changes(lambda: (tab.open("Mix"), tab.press("Mix these layers")))
    assert mixed not in (plain, first, both)
    assert tab.changes(lambda: tab.press("Remove all")) == plain
    tab.open("Save and load")
    assert tab.changes(lambda: page.locator("input[type=file]").last.set_input_files(edits)) == both
    assert tab.complaints == [] and site.outside == []


def test_the_list_keeps_the_focus_of_the_keyboard(tab: Tab) -> None:
    page = tab.page
    card = page.locator(".sar-cards button").first
    card.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator(".sar-cards button").nth(1)).to_have_attribute("aria-checked", "true")
    tab.slides(STRENGTH, 4)
    tab.says("strength h of group 1", ".sar-edits")
    page.get_by_label("range slider for Strength").first.focus()
    tab.changes(lambda: page.keyboard.press("ArrowRight"))
    remove = page.get_by_role("button", name=re.compile("Remove: strength h of group 1"))
    remove.focus()
    tab.changes(lambda: page.keyboard.press("Enter"))
    playwright.expect(page.locator(".sar-edits li")).to_have_count(0)
    assert tab.complaints == []


def test_a_photograph_is_projected_and_a_wrong_one_refused(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    tab.open("Photograph")
    for name, content, message in (
        ("notes.txt", b"no picture", "notes.txt: not a picture that can be read"),
        ("bomb.png", bomb(), "bomb.png: not a picture that can be read .*bomb"),
    ):
        tab.upload(name, content)
        tab.press("Project")
        tab.says(message)
        page.get_by_label(re.compile("Remove|Clear")).first.click()
    tab.upload("../../me.png", photograph())
    page.get_by_label("range slider for Steps").first.fill("10")
    tab.changes(lambda: tab.press("Project"))
    tab.says("Found me.png")
    assert tab.complaints == []


def test_films_sheets_and_directions(tab: Tab) -> None:
    page = tab.page
    tab.open("Film")
    tab.press("Strip")
    tab.says("keep a state first")
    tab.press("Keep this state as the start")
    tab.says("kept as the start")
    tab.open("Directions")
    tab.slides("Along it", 3)
    tab.open("Film")
    page.get_by_label("range slider for Pictures").first.fill("4")
    tab.press("GIF")
    assert page.get_by_role("link", name="Save film.gif").get_attribute("href").startswith("data:image/gif")
    tab.open("Sheet")
    tab.press("Make the sheet")
    playwright.expect(page.get_by_role("link", name="Save sheet.png")).to_be_visible()
    assert tab.complaints == []


def test_an_empty_box_of_a_slider_is_one_line(tab: Tab) -> None:
    """A person empties it before typing another number."""
    box = tab.page.get_by_label(f"number input for {STRENGTH}").first
    before = tab.slides(STRENGTH, 2)
    box.fill("")
    tab.says("Strength.* must be a number, got nothing")
    assert tab.picture() == before
    tab.changes(lambda: box.fill("3"))


def test_every_control_has_a_name(tab: Tab) -> None:
    tab.slides(STRENGTH, 2)
    for name in ("Groups", "Mix", "Directions", "Photograph", "Film", "Sheet", "Save and load"):
        tab.open(name)
        assert tab.page.evaluate(NAMELESS) == []


@pytest.mark.parametrize(("name", "options"), [
    ("phone", {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}),
    ("dark", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
])  # fmt: skip
def test_on_a_phone_and_in_the_dark(site: Site, browser: Any, name: str, options: dict[str, Any]) -> None:
    with browser.new_context(**options) as context:
        tab = open_tab(context, site)
        tab.slides(STRENGTH, 3)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        color = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", color)[:3])) < 80) == (name == "dark")
        keep_screenshot(tab, name)
        tab.page.get_by_label("range slider for Toward").scroll_into_view_if_needed()
        assert tab.page.locator(".sar-pictures .row").bounding_box()["y"] >= 0  # it stays in sight
        assert tab.complaints == []


def test_two_people_do_not_meet(site: Site, browser: Any) -> None:
    with browser.new_context() as one, browser.new_context() as other:
        mine, theirs = open_tab(one, site), open_tab(other, site)
        plain = theirs.picture()
        assert mine.picture() == plain
        mine.slides(STRENGTH, 3)
        assert theirs.slides(STRENGTH, 0) not in (plain, mine.picture())


def test_pictures_are_those_of_the_library(tab: Tab, site: Site) -> None:
    from sarigan.editing.rendering import Sampling
    from sarigan.editor.markup import picture_url
    from sarigan.visualization.sheet import pictures

    generator, sampling = load_generator(site.source), Sampling()
    group = int(tab.page.locator(".sar-cards button").first.get_attribute("data-number"))
    images = sampling.render(generator, sampling.latents(generator, [0]), [0], [Intervention(LAYER, group, "h", "scale", 3.0)])
    assert tab.slides(STRENGTH, 3) == picture_url(pictures(images)[0])


@pytest.mark.parametrize("changes", [{}, {"synthesis": "adain"}], ids=["stylegan2", "stylegan"])
def test_a_model_without_groups_is_edited_in_other_ways(
    exported: Callable[..., Path], browser: Any, changes: dict[str, str]
) -> None:
    model = open_model(str(exported("none", **changes)))
    with served(model, Address(port=free_port())) as url, browser.new_context() as context:
        tab = Tab(context.new_page(), url)
        tab.listen()
        tab.page.goto(url)
        tab.page.wait_for_selector(".sar-pictures img")
        assert not tab.page.get_by_role("tab", name="Groups").is_visible()
        tab.says("no groups, so channels" if not changes else "only styles can be mixed", ".prose")
        tab.open("Mix")
        tab.changes(lambda: tab.press("Mix these layers"))
        if not changes:
            tab.open("Directions")
            tab.slides("Added to the channel", 4)
        assert tab.complaints == []


def test_a_hole_is_painted_and_completed(inpainting_run: Path, browser: Any, outside: list[str]) -> None:
    with served(open_model(str(inpainting_run)), Address(port=free_port())) as url, browser.new_context() as context:
        tab = Tab(context.new_page(), url)
        page = tab.page
        tab.listen()
        page.goto(url)
        tab.press("Complete")
        tab.says("choose a photograph first")
        upload = page.locator("input[type=file]").first
        upload.set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": photograph((300, 200))})
        box = page.locator("canvas").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        completions = page.get_by_role("link", name=re.compile("Save completion-"))
        for _ in range(int(PATIENCE / 2000)):  # until the picture is there to be painted on
            page.mouse.move(x - 30, y - 20)
            page.mouse.down()
            page.mouse.move(x + 30, y + 20, steps=10)
            page.mouse.up()
            tab.press("Complete")
            page.wait_for_timeout(2000)
            if completions.count():
                break
        playwright.expect(completions).to_have_count(4)
        assert tab.complaints == [] and outside == []


def test_files_of_the_machine_are_not_given_away(site: Site) -> None:
    import urllib.error
    import urllib.request

    for path in ("/etc/hostname", __file__, site.source + "/generator.json", "../../../../etc/hostname"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{site.url}gradio_api/file={path}", timeout=MINUTE)
        assert refused.value.code in (403, 404)
