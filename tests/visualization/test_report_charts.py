"""Charts: ticks are round and inside, lines go where the numbers say, labels are escaped."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarigan.visualization.report.page import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart, log_ticks, nice_ticks


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_log_ticks() -> None:
    assert log_ticks(0.3, 30) == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert log_ticks(1e-6, 1e3) == pytest.approx([10.0**k for k in range(-6, 4)])


def test_lines_are_drawn_to_scale() -> None:
    chart = line_chart("A & B", {"<one>": [(0, 0), (5, 10), (10, 5), (11, float("nan"))], "none": []})
    assert "&lt;one&gt;" in chart and "A &amp; B" in chart and "none" not in chart.replace("&lt;one&gt;", "")
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", chart).group())
    (line,) = svg.findall("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert (x0, x2) == (LEFT, WIDTH - RIGHT) and x1 == pytest.approx((x0 + x2) / 2)
    assert TOP <= y1 < y2 < y0 <= HEIGHT - BOTTOM and (y0 - y2) == pytest.approx((y0 - y1) / 2, abs=0.2)
    assert svg.get("role") == "img" and "ends at 5" in svg.get("aria-label")


def test_nothing_to_draw() -> None:
    assert line_chart("empty", {"a": [], "b": [(1.0, float("inf"))]}) == ""
    assert line_chart("log", {"a": [(1.0, 0.0)]}, log_scale=True) == ""
    assert "<polyline" in line_chart("constant", {"a": [(1.0, 2.0)]})
