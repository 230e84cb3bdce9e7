"""The page: sections in order, style and script inlined, no address but its own.

Line charts are inline SVG: the page's colours, any width, readable without scripts. One can be a file of its own, too.
"""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from PIL import Image

WIDTH, HEIGHT = 520, 250  # of a chart
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 46
MAX_POINTS = 400
COLORS = ("#a3344f", "#2f6f9f", "#c07a1c", "#4c8050", "#7a559c", "#5f6670")  # those of report.css

Series = Sequence[tuple[float, float]]

# Nothing may be fetched: the page is whole.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A heading with its content. `body` is HTML."""

    key: str  # its anchor
    title: str
    body: str


def make_page(title: str, introduction: str, sections: list[Section], footer: str) -> str:
    """An HTML document. introduction and footer are HTML; sections without a body are left out."""
    shown = [section for section in sections if section.body]
    contents = "".join(f'<a href="#{s.key}">{html.escape(s.title)}</a>' for s in shown)
    bodies = "".join(f'<section id="{s.key}"><h2>{html.escape(s.title)}</h2>{s.body}</section>' for s in shown)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{_asset('report.css')}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1>{introduction}<nav aria-label='Contents'>{contents}</nav></header>"
        f"<main>{bodies}</main><footer>{footer}</footer><script>{_asset('report.js')}</script></body></html>\n"
    )


def table(headings: list[str], rows: list[list[str]], numbers: tuple[int, ...] = ()) -> str:
    """An HTML table of plain texts; columns in `numbers` are set flush right."""
    kind = ["n" if column in numbers else "" for column in range(len(headings))]
    head = "".join(f'<th scope="col" class="{k}">{html.escape(text)}</th>' for text, k in zip(headings, kind, strict=True))
    body = "".join(
        "<tr>" + "".join(f'<td class="{k}">{html.escape(text)}</td>' for text, k in zip(row, kind, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(items: dict[str, str]) -> str:
    """Short facts as cards."""
    cards = [f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in items.items()]
    return f"<dl>{''.join(cards)}</dl>"


def figure(picture: str, alt: str, caption: str = "", width: int | None = None) -> str:
    """A sheet that scrolls sideways on a narrow screen. picture: a data URI."""
    size = f' width="{width}"' if width else ""
    text = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    image = f'<img src="{picture}" alt="{html.escape(alt, quote=True)}"{size}>'
    return f'<figure>{text}<div class="sheet" tabindex="0">{image}</div></figure>'


def data_uri(image: Image.Image, quality: int = 86, max_side: int = 2400) -> str:
    """The picture as WebP in an address of its own, so that the page holds it; reduced until its longer side fits."""
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=5)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _asset(name: str) -> str:
    return (resources.files("sarigan.visualization.report") / name).read_text()


def line_chart(title: str, series: dict[str, Series], x_label: str = "thousand images", log_scale: bool = False) -> str:
    """A figure with legend. Points with a NaN are left out; log scale leaves out values that are not positive."""
    kept = _kept(series, log_scale)
    if not kept:
        return ""
    legend = "".join(f'<span class="c{i % 6}">{html.escape(name)}</span>' for i, name in enumerate(kept))
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_label(title, kept)}">{_drawn(kept, x_label, log_scale)}'
        f'</svg><div class="legend">{legend}</div></figure>'
    )


def chart_file(title: str, series: Mapping[str, Series], x_label: str = "thousand images") -> str:
    """The text of an SVG file: one chart on white with its title and legend, empty when there is nothing to draw."""
    kept = _kept(series, False)
    if not kept:
        return ""
    style = "text{font:12px sans-serif;fill:#333}.rule{stroke:#ddd}.line{fill:none;stroke:currentColor;stroke-width:1.8}"
    style += "".join(f".c{i}{{color:{color}}}" for i, color in enumerate(COLORS))
    legend = "".join(
        f'<text x="{LEFT}" y="{HEIGHT + 16 + 18 * i}" style="fill:{COLORS[i % 6]}">{html.escape(name)}</text>'
        for i, name in enumerate(kept)
    )
    top, height = 26, HEIGHT + 26 + 10 + 18 * len(kept)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 {-top} {WIDTH} {height}"'
        f' role="img" aria-label="{_label(title, kept)}"><style>{style}</style>'
        f'<rect y="{-top}" width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="{LEFT}" y="-8" style="font-weight:bold">{html.escape(title)}</text>'
        f"{_drawn(kept, x_label, False)}{legend}</svg>\n"
    )


def _kept(series: Mapping[str, Series], log_scale: bool) -> dict[str, list[tuple[float, float]]]:
    kept = {name: _thin([p for p in points if _shown(p, log_scale)]) for name, points in series.items()}
    return {name: points for name, points in kept.items() if points}


def _label(title: str, kept: dict[str, list[tuple[float, float]]]) -> str:
    ends = ", ".join(f"{name} ends at {_number(points[-1][1])}" for name, points in kept.items())
    return html.escape(f"{title}: {ends}", quote=True)


def _drawn(kept: dict[str, list[tuple[float, float]]], x_label: str, log_scale: bool) -> str:
    """Rules, ticks and lines."""
    xs = [x for points in kept.values() for x, _ in points]
    ys = [math.log10(y) if log_scale else y for points in kept.values() for _, y in points]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_low, y_high = _padded(min(ys), max(ys))

    def place(x: float, y: float) -> str:
        y = math.log10(y) if log_scale else y
        px = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        py = TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return f"{px:.1f},{py:.1f}"

    parts = []
    for value in log_ticks(10**y_low, 10**y_high) if log_scale else nice_ticks(y_low, y_high):
        _, y = place(x_low, value).split(",")
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{_number(value)}</text>')
    for tick in nice_ticks(x_low, x_high):
        x, _ = place(tick, 10**y_low if log_scale else y_low).split(",")
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    for index, points in enumerate(kept.values()):
        path = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline class="line c{index % 6}" points="{path}"/>')
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
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
