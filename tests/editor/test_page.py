"""The page in a real browser: what a person does works, says what is wrong in one line, and reaches no other machine.

Skipped with the reason where Gradio, Playwright or Chromium is missing (tests/helpers/chromium.py). SARIGAN_SCREENSHOTS names a
folder that keeps what the page looked like.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright: pip install playwright")

from browser_tab import NAMELESS, PATIENCE, Site, Tab, free_port, keep_screenshot, saved  # noqa: E402
from process_tools import MINUTE  # noqa: E402
from upload_pictures import bomb, photograph  # noqa: E402

from sarigan.editor.model import EditedModel  # noqa: E402
from sarigan.editor.server import Address, open_model, served  # noqa: E402
from sarigan.layers.intervention import Intervention  # noqa: E402
from sarigan.pretrained import load_generator  # noqa: E402

LAYER = "16x16.up"  # that the page shows first: the middle one
STRENGTH = "Strength"


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
    tab.sets("Steps", 10)
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
    tab.sets("Pictures", 4)
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


def test_a_class_conditional_model_is_edited_by_class_and_channel(biggan: Path, browser: Any, outside: list[str]) -> None:
    with served(open_model(str(biggan)), Address(port=free_port())) as url, browser.new_context() as context:
        tab = Tab(context.new_page(), url)
        page = tab.page
        tab.listen()
        page.goto(url)
        page.wait_for_selector(".sar-pictures img")
        assert not page.get_by_role("tab", name="Groups").is_visible() and not page.get_by_label("fresh").is_visible()
        tab.open("Classes")
        tab.press("Way as a strip")
        playwright.expect(page.get_by_role("link", name="Save classes.png")).to_be_visible()
        tab.press("All classes")
        playwright.expect(page.get_by_role("link", name="Save all_classes.png")).to_be_visible()
        tab.open("Channels")
        tab.press("Which channels does this picture use most?")
        tab.says(r"16x16.up, mean after ReLU in closed form: channel \d+ \(\d")
        tab.slides("Added to the channel's gain", 4)
        tab.says("channel 0 of 16x16.up", ".sar-edits")
        assert page.evaluate(NAMELESS) == [] and tab.complaints == [] and outside == []


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
