"""Line charts as inline SVG: the page's colours, any width, readable without scripts. One can be a file of its own, too."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 250  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 18, 46
MAX_POINTS = 400
COLORS = ("#a3344f", "#2f6f9f", "#c07a1c", "#4c8050", "#7a559c", "#5f6670")  # c0 to c5 of report.css
RAMP = 9  # colours of resolutions, r0 to r8 of report.css
MARK_WIDTH = 62  # of a mark's text and the gap beside it

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """What is drawn of a series. look: its classes of the style sheet."""

    name: str
    look: str
    points: list[tuple[float, float]]


def line_chart(
    title: str, series: Mapping[str, Series], x_label: str = "thousand images", log_scale: bool = False,
    marks: Mapping[float, str] | None = None,
) -> str:  # fmt: skip
    """A figure with legend. Points with a NaN are left out; log scale leaves out values that are not positive.

    A series has the colour of its place among all, drawn or not; layers of a network have those of their resolutions.
    marks: texts at thin upright lines, by x.
    """
    lines = _lines(series, log_scale)
    if not lines:
        return ""
    legend = "".join(f'<span class="{line.look}">{html.escape(line.name)}</span>' for line in lines)
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_label(title, lines)}">'
        f'{_drawn(lines, x_label, log_scale, marks or {})}</svg><div class="legend">{legend}</div></figure>'
    )


def chart_file(title: str, series: Mapping[str, Series], x_label: str = "thousand images") -> str:
    """The text of an SVG file: one chart on white with its title and legend, empty when there is nothing to draw."""
    lines = _lines(series, False)
    if not lines:
        return ""
    style = "text{font:12px sans-serif;fill:#333}.rule{stroke:#ddd}.line{fill:none;stroke:currentColor;stroke-width:1.8}"
    style += ".dot,.name{fill:currentColor}.dashed{stroke-dasharray:5 4}"
    style += "".join(f".c{i}{{color:{color}}}" for i, color in enumerate(COLORS))
    legend = "".join(
        f'<text x="{LEFT}" y="{HEIGHT + 16 + 18 * i}" class="name {line.look}">{html.escape(line.name)}</text>'
        for i, line in enumerate(lines)
    )
    top, height = 26, HEIGHT + 26 + 10 + 18 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 {-top} {WIDTH} {height}"'
        f' role="img" aria-label="{_label(title, lines)}"><style>{style}</style>'
        f'<rect y="{-top}" width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="{LEFT}" y="-8" style="font-weight:bold">{html.escape(title)}</text>'
        f"{_drawn(lines, x_label, False, {})}{legend}</svg>\n"
    )


def _lines(series: Mapping[str, Series], log_scale: bool) -> list[Line]:
    looks = _layer_looks(list(series)) or [f"c{i % 6}{' dashed' if i // 6 % 2 else ''}" for i in range(len(series))]
    lines = [
        Line(name, look, _thin([p for p in points if _shown(p, log_scale)]))
        for look, (name, points) in zip(looks, series.items(), strict=True)
    ]
    return [line for line in lines if line.points]


def _layer_looks(names: Sequence[str]) -> list[str]:
    """A colour a resolution, from the first to the last of the ramp, dashes for `up`; empty where a name is no layer's."""
    found = [re.fullmatch(r"(\d+)x\d+\.(.+)", name) for name in names]
    sides = [int(match[1]) for match in found if match]
    order = sorted(set(sides))
    if len(sides) < len(names) or len(order) < 2:
        return []
    steps = [round(order.index(side) * (RAMP - 1) / (len(order) - 1)) for side in sides]
    return [f"r{step}{' dashed' if match and match[2] == 'up' else ''}" for step, match in zip(steps, found, strict=True)]


def _label(title: str, lines: Sequence[Line]) -> str:
    ends = ", ".join(f"{line.name} ends at {_number(line.points[-1][1])}" for line in lines)
    return html.escape(f"{title}: {ends}", quote=True)


def _drawn(lines: Sequence[Line], x_label: str, log_scale: bool, marks: Mapping[float, str]) -> str:
    """Rules, ticks, marks, lines, and a dot for a line of one point."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [math.log10(y) if log_scale else y for line in lines for _, y in line.points]
    x_low, x_high = (min(xs), max(xs)) if min(xs) < max(xs) else (0.0, 2 * xs[0] or 1.0)
    y_low, y_high = _padded(min(ys), max(ys))

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def place(x: float, y: float) -> tuple[str, str]:
        y = math.log10(y) if log_scale else y
        py = TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return f"{across(x):.1f}", f"{py:.1f}"

    parts = []
    for value in log_ticks(10**y_low, 10**y_high) if log_scale else nice_ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{_number(value)}</text>')
    for tick in nice_ticks(x_low, x_high):
        x = f"{across(tick):.1f}"
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    free = float(LEFT)  # texts of marks end here so far
    for mark, text in sorted(marks.items()):
        if x_low < mark < x_high:
            px = across(mark)
            parts.append(f'<line class="mark" x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            left = min(max(px, free), WIDTH - MARK_WIDTH)
            if left >= free and left - px < 4:
                parts.append(f'<text x="{left:.1f}" y="{TOP - 4}">{html.escape(text)}</text>')
                free = left + MARK_WIDTH
    for line in lines:
        if len(line.points) == 1:
            x, y = place(*line.points[0])
            parts.append(f'<circle class="dot {line.look}" cx="{x}" cy="{y}" r="4"/>')
        else:
            path = " ".join(",".join(place(*point)) for point in line.points)
            parts.append(f'<polyline class="line {line.look}" points="{path}"/>')
    return "".join(parts)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within low..high, about `count` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within low..high; powers alone over more than three of them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [m * 10.0**power for power in powers for m in steps if low <= m * 10.0**power <= high]


def _shown(point: tuple[float, float], log_scale: bool) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1]) and (point[1] > 0 or not log_scale)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS of them: means of neighbours."""
    size = -(-len(points) // MAX_POINTS)
    if size <= 1:
        return points
    chunks = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
