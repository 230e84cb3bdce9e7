"""The page of a layout model in a real browser: a person paints, sees pictures, takes styles, and is told what is wrong."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright: pip install playwright")

from browser_tab import NAMELESS, Site, Tab, free_port, keep_screenshot, saved  # noqa: E402
from upload_pictures import photograph  # noqa: E402

from sarigan.editor.markup import picture_url  # noqa: E402
from sarigan.editor.painting import LayoutModel  # noqa: E402
from sarigan.editor.projecting import Upload  # noqa: E402
from sarigan.editor.server import Address, open_model, served  # noqa: E402
from sarigan.visualization.sheet import pictures  # noqa: E402

SHOWN = "() => [...document.querySelectorAll('.sar-completions img')].map((image) => image.src)"


@pytest.fixture(scope="module")
def site(layout_run: Callable[..., Path], outside: list[str]) -> Iterator[Site]:
    source = str(layout_run())
    with served(open_model(source), Address(port=free_port())) as url:
        yield Site(url, source, outside)


def open_tab(context: Any, url: str) -> Tab:
    tab = Tab(context.new_page(), url)
    tab.listen()
    tab.page.goto(url)
    tab.page.wait_for_selector(".sar-completions img")
    return tab


@pytest.fixture
def tab(site: Site, browser: Any) -> Iterator[Tab]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield open_tab(context, site.url)


def shows(tab: Tab, images: list[str]) -> bool:
    """Waits until these are the pictures."""
    tab.page.wait_for_function(f"images => JSON.stringify(({SHOWN})()) === JSON.stringify(images)", arg=images)
    return True


def repaints(tab: Tab, action: Callable[[], Any]) -> None:
    """Waits until the action has changed the layout that the page saves."""
    link = tab.page.get_by_role("link", name="Save layout.png")
    before = link.get_attribute("href")
    action()
    playwright.expect(link).not_to_have_attribute("href", before)


def strokes(tab: Tab, *path: tuple[float, float]) -> None:
    """With the pointer, from pixel to pixel of the layout (column, row)."""
    canvas = tab.page.locator(".sar-brush canvas")
    canvas.scroll_into_view_if_needed()
    box, (width, height) = canvas.bounding_box(), canvas.evaluate("part => [part.width, part.height]")
    for index, (column, row) in enumerate(path):
        tab.page.mouse.move(box["x"] + box["width"] * (column + 0.5) / width, box["y"] + box["height"] * (row + 0.5) / height)
        if index == 0:
            tab.page.mouse.down()
    tab.page.mouse.up()


def choose(tab: Tab, name: str) -> None:
    tab.page.get_by_role("radio", name=name, exact=True).click()


def layout_of(tab: Tab, folder: Path) -> np.ndarray:
    """What the page saves."""
    return np.asarray(Image.open(saved(tab, "layout.png", folder), formats=["PNG"]))


def right(model: LayoutModel, layout: np.ndarray, seeds: list[int], *references: Upload) -> list[str]:
    """What the page has to show."""
    return [picture_url(pictures(image)[0]) for image in model.images(layout.astype(np.int64), seeds, references).values()]


def upload(tab: Tab, position: int, name: str, content: bytes) -> None:
    files = {"name": name, "mimeType": "image/png", "buffer": content}
    tab.page.locator("input[type=file]").nth(position).set_input_files(files)


def test_a_person_paints_takes_styles_and_saves(tab: Tab, site: Site, tmp_path: Path) -> None:
    page, model = tab.page, LayoutModel(site.source)
    avatar = model.of_avatar(0)
    assert np.array_equal(layout_of(tab, tmp_path), avatar)
    assert shows(tab, right(model, avatar, [0, 1, 2, 3]))

    choose(tab, "hair")
    repaints(tab, lambda: strokes(tab, (4, 25), (27, 25)))
    layout = layout_of(tab, tmp_path)
    assert (layout[25, 4:28] == 8).all() and np.array_equal(layout[:20], avatar[:20]) and layout[25, 0] == avatar[25, 0]
    assert shows(tab, right(model, layout, [0, 1, 2, 3]))
    keep_screenshot(tab, "layout-desktop")

    tab.press("Undo")
    assert shows(tab, right(model, avatar, [0, 1, 2, 3]))
    tab.press("Redo")
    assert shows(tab, right(model, layout, [0, 1, 2, 3]))
    page.get_by_label("Tool").select_option("fill")
    choose(tab, "beard")
    repaints(tab, lambda: strokes(tab, (15, 25)))
    filled = layout_of(tab, tmp_path)
    assert (filled[25, 4:28] == 7).all() and not (filled != layout)[layout != 8].any()

    page.get_by_label("Styles of seeds").fill("5")
    tab.press("Make pictures")
    assert shows(tab, right(model, filled, [5]))
    content = photograph()
    upload(tab, 1, "mine.png", content)
    assert shows(tab, right(model, filled, [5], Upload("mine.png", content)))
    command = page.get_by_label("The command that makes the same picture").input_value()
    assert command == f"sarigan synthesize {site.source} layout.png --seeds 5 --style mine.png"
    picture = np.asarray(Image.open(saved(tab, "layout-5.png", tmp_path), formats=["PNG"]))
    assert picture.shape == (32, 32, 3)
    assert tab.complaints == [] and site.outside == []


def test_layouts_to_start_from(tab: Tab, site: Site, tmp_path: Path) -> None:
    page, model = tab.page, LayoutModel(site.source)
    page.get_by_label("Avatar, 0 to 3").fill("2")
    tab.press("Take its layout")
    assert shows(tab, right(model, model.of_avatar(2), [0, 1, 2, 3]))
    choose(tab, "skin")
    repaints(tab, lambda: tab.press("Fill all"))
    assert (layout_of(tab, tmp_path) == 1).all()
    content = model.layout_file(model.of_avatar(3))
    repaints(tab, lambda: upload(tab, 0, "other.png", content))
    assert shows(tab, right(model, model.of_avatar(3), [0, 1, 2, 3]))
    assert np.array_equal(layout_of(tab, tmp_path), model.of_avatar(3))
    repaints(tab, lambda: tab.press("Undo"))  # what was painted before
    assert (layout_of(tab, tmp_path) == 1).all()
    assert tab.complaints == []


def test_the_keyboard_paints(tab: Tab, site: Site, tmp_path: Path) -> None:
    page, before = tab.page, LayoutModel(site.source).of_avatar(0)
    page.get_by_role("radio", name="skin", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    playwright.expect(page.get_by_role("radio", name="glasses", exact=True)).to_have_attribute("aria-checked", "true")
    page.get_by_label("Brush size").fill("1")
    page.locator(".sar-brush canvas").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    tab.says("column 17, row 19", ".sar-brush .where")
    repaints(tab, lambda: page.keyboard.press("Space"))
    after = layout_of(tab, tmp_path)
    assert np.argwhere(after != before).tolist() == [[19, 17]] and after[19, 17] == 9
    assert page.evaluate(NAMELESS) == [] and tab.complaints == []


def test_what_is_wrong_is_one_line_and_the_pictures_stay(tab: Tab) -> None:
    page, before = tab.page, tab.page.evaluate(SHOWN)
    page.get_by_label("Styles of seeds").fill("0-20")
    tab.press("Make pictures")
    tab.says("1 to 8 seeds and pictures are shown at once, got 21")
    page.get_by_label("Styles of seeds").fill("x")
    tab.press("Make pictures")
    tab.says("seeds are numbers and ranges")
    page.get_by_label("Styles of seeds").fill("0")
    upload(tab, 1, "notes.txt", b"no picture")
    tab.says("notes.txt: not a picture that can be read")
    upload(tab, 0, "photo.png", photograph((32, 32)))
    tab.says("photo.png: is a picture of mode RGB")
    page.get_by_label(re.compile("Avatar")).fill("99")
    tab.press("Take its layout")
    tab.says("avatar must be 0 to 3, got 99")
    assert page.evaluate(SHOWN) == before and tab.complaints == []


def test_classes_of_a_table_and_pictures_that_are_no_square(
    street: Path, browser: Any, outside: list[str], tmp_path: Path
) -> None:
    """A name of the table is text, whatever it holds."""
    with served(open_model(str(street)), Address(port=free_port())) as url, browser.new_context() as context:
        tab, model = open_tab(context, url), LayoutModel(str(street))
        assert tab.page.locator(".sar-brush [role=radio]").all_text_contents() == ["road", "tree", "<sky>", "nothing"]
        assert not tab.page.get_by_label("Avatar").is_visible()
        tab.page.get_by_label("Brush size").fill("3")
        choose(tab, "<sky>")
        repaints(tab, lambda: strokes(tab, (5, 3)))
        layout = layout_of(tab, tmp_path)
        assert layout.shape == (16, 24) and (layout == 2).sum() == 9 and (layout[2:5, 4:7] == 2).all()
        assert shows(tab, right(model, layout, [0, 1, 2, 3]))
        assert tab.complaints == [] and outside == []


@pytest.mark.parametrize(("name", "options"), [
    ("phone", {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}),
    ("dark", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
])  # fmt: skip
def test_on_a_phone_and_in_the_dark(site: Site, browser: Any, name: str, options: dict[str, Any]) -> None:
    with browser.new_context(**options) as context:
        tab = open_tab(context, site.url)
        choose(tab, "hair")
        if name == "phone":
            box = tab.page.locator(".sar-brush canvas").bounding_box()
            repaints(tab, lambda: tab.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        else:
            repaints(tab, lambda: strokes(tab, (10, 20), (20, 28)))
        assert tab.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        color = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", color)[:3])) < 80) == (name == "dark")
        keep_screenshot(tab, f"layout-{name}")
        assert tab.complaints == []
