"""The page: sections in order, style and script inlined, no address but its own."""

import base64
import html
import io
from dataclasses import dataclass
from importlib import resources

from PIL import Image

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


def table(headings: list[str], rows: list[list[str]], numbers: tuple[int, ...] = (), folds: bool = False) -> str:
    """An HTML table of plain texts; columns in `numbers` are flush right. folds: on a narrow screen a row is a paragraph."""
    names = [html.escape(text, quote=True) for text in headings]
    kinds = [' class="n"' if column in numbers else "" for column in range(len(headings))]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(names, kinds, strict=True))
    starts = [f'<td{kind} data-name="{name}">' if folds else f"<td{kind}>" for name, kind in zip(names, kinds, strict=True)]
    body = "".join(
        "<tr>" + "".join(f"{start}{html.escape(text)}</td>" for start, text in zip(starts, row, strict=True)) + "</tr>"
        for row in rows
    )
    kind = "table folds" if folds else "table"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
