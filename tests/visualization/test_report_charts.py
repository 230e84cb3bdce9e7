"""Charts: ticks are round and inside, lines go where the numbers say, labels are escaped."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarigan.visualization.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    chart_file,
    line_chart,
    log_ticks,
    nice_ticks,
)


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


def test_a_single_point_is_a_dot_in_the_middle() -> None:
    chart = line_chart("once", {"a": [(0.5, 0.0002)], "b": []})
    (circle,) = ElementTree.fromstring(re.search(r"<svg.*</svg>", chart).group()).findall("circle")
    assert float(circle.get("cx")) == (LEFT + WIDTH - RIGHT) / 2
    assert float(circle.get("cy")) == (TOP + HEIGHT - BOTTOM) / 2
    assert ">0.0002<" in chart and ">1<" in chart and "<polyline" not in chart


def test_a_run_has_one_colour_in_all_charts() -> None:
    """Whether others have the curve or not; a seventh is dashed."""
    line = [(0.0, 1.0), (1.0, 2.0)]
    chart = line_chart("few", {"a": [], "b": line})
    assert 'class="line c1"' in chart and '<span class="c1">b' in chart and "c0" not in chart
    many = line_chart("many", {str(number): line for number in range(7)})
    assert many.count('class="line c0"') == 1 and '<span class="c0 dashed">6' in many
    assert '<text x="58" y="266" class="name c1">b' in chart_file("file", {"a": [], "b": line})


def test_layers_have_colours_by_resolution() -> None:
    line = [(0.0, 1.0), (1.0, 2.0)]
    names = ["8x8.up", "8x8.conv", "16x16.up", "32x32.conv"]
    looks = re.findall(r'<span class="(.*?)">(.*?)</span>', line_chart("layers", dict.fromkeys(names, line)))
    assert looks == list(zip(["r0 dashed", "r0", "r4 dashed", "r8"], names, strict=True))
    assert '"line c0"' in line_chart("mixed", {"8x8.up": line, "all": line})


def test_marks() -> None:
    """Thin lines inside the chart; texts that would overlap or stand outside are left out."""
    chart = line_chart(
        "run", {"a": [(0.0, 1.0), (10.0, 2.0)]}, marks={0.0: "at 0", 5.0: "start <2>", 5.1: "start 3", 9.9: "start 4"}
    )
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", chart).group())
    places = [float(mark.get("x1")) for mark in svg.findall("line") if mark.get("class") == "mark"]
    assert places == [pytest.approx(LEFT + share * (WIDTH - LEFT - RIGHT), abs=0.06) for share in (0.5, 0.51, 0.99)]
    texts = [text.text for text in svg.findall("text") if text.text.startswith(("start", "at"))]
    assert texts == ["start <2>", "start 4"]
