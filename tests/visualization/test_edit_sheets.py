"""Sheets of edits and attention: one scale for all difference maps, a colour bar, rows without a visible change named."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from sarigan.editing.group_editing import scaling
from sarigan.editing.rendering import Sampling
from sarigan.models.generator import Generator
from sarigan.visualization import editing
from sarigan.visualization.attention_maps import attention_sheet
from sarigan.visualization.editing import groups_overview
from sarigan.visualization.sheet import BAR_HEIGHT, BAR_WIDTH, heat_colors, make_sheet


@pytest.fixture(scope="module")
def generator(tiny_config: Callable, tiny_state: Callable) -> Generator:
    return tiny_state(tiny_config()).system.average.module.eval()


def has_color_bar(sheet: Image.Image) -> bool:
    """Whether the colours from 0 to 1 stand in a row of the sheet, as many rows as a bar is high."""
    pixels = np.asarray(sheet)
    bar = heat_colors(np.linspace(0, 1, BAR_WIDTH))
    rows = [
        y for y in range(len(pixels))
        if any((pixels[y, x : x + BAR_WIDTH] == bar).all() for x in range(pixels.shape[1] - BAR_WIDTH)
               if (pixels[y, x] == bar[0]).all())
    ]  # fmt: skip
    return len(rows) == BAR_HEIGHT and np.all(np.diff(rows) == 1)


def test_color_bar() -> None:
    cell = np.full((96, 96, 3), 128, dtype=np.uint8)
    plain, barred = (make_sheet([[cell, cell, cell]], caption="text", color_bar=bar) for bar in (None, ("0", "12.5")))
    assert not has_color_bar(plain) and has_color_bar(barred)
    assert barred.height == plain.height + 8 + BAR_HEIGHT
    narrow = make_sheet([[cell]], color_bar=("the group's 1% quantile", "its 99% quantile"))
    assert has_color_bar(narrow) and (np.asarray(narrow)[:, -8:] == 255).all()


def test_one_scale_for_all_groups(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map of a group that does nothing is dark; with a scale of its own it was as bright as any."""
    seen = {}

    def keep(rows: list, columns: list, names: list, *arguments: object, **options: object) -> Image.Image:
        seen.update(rows=rows, names=names, options=options, caption=arguments[1])
        return make_sheet(rows, columns, names, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(editing, "make_sheet", keep)
    groups = generator.grouped_layer("8x8.up").occupied()
    families = {group: scaling("8x8.up", group, "h") for group in groups}
    families[groups[0]] = lambda amount: scaling("8x8.up", groups[0], "h")(1.0)  # changes nothing
    sheet = groups_overview(
        generator, Sampling(), range(3), families, (0.0, 4.0), "Caption.", {groups[0]: "hair 0.16 (as random)"}
    )
    brightness = [int(row[-1].max()) for row in seen["rows"]]
    assert brightness[0] == int(heat_colors(np.zeros(1)).max()) and max(brightness) == int(heat_colors(np.ones(1)).max())
    assert "largest change 0.0: not visible" in seen["names"][0]
    assert "responds to: hair 0.16 (as random)" in seen["names"][0]
    largest = float(seen["options"]["color_bar"][1].split()[0])
    shown = [float(name.split("largest change ")[1].split(":")[0]) for name in seen["names"]]
    assert largest == pytest.approx(max(shown), abs=0.06) and "one scale for all rows" in seen["caption"]
    assert has_color_bar(sheet)


def test_attention_sheet_has_a_bar(generator: Generator) -> None:
    assert has_color_bar(attention_sheet(generator, Sampling(), range(2), "8x8.up"))
