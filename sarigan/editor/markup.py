"""HTML of what no component of Gradio shows: pictures, cards of groups, the list of edits, downloads. No Gradio here.

Pictures travel inside the page, so nobody's files lie on the server. Every text that a person or a file gave is escaped.
"""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from sarigan.editor.group_cards import GroupCard
from sarigan.editor.recipe import Entry
from sarigan.editor.saving import picture_bytes
from sarigan.editor.session import Pictures
from sarigan.visualization.sheet import heat_pictures, pictures


def data_url(content: bytes, kind: str) -> str:
    """`data:image/png;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_url(picture: np.ndarray | Image.Image) -> str:
    """A picture, uint8 [H,W,3] or Pillow's, as a URL that holds it."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return data_url(picture_bytes(image), "image/png")


def pictures_markup(shown: Pictures) -> str:
    """The picture, the edited one, and their difference side by side."""
    heat, largest = heat_pictures((shown.edited - shown.original).abs().mean(dim=1).numpy())
    cells = [
        ("Picture", "the picture without edits", pictures(shown.original)[0]),
        ("Edited", "the edited picture", pictures(shown.edited)[0]),
        ("Difference", f"where they differ, by up to {largest * 127.5:.0f} of 255 grey levels", heat[0]),
    ]
    figures = (
        f'<figure><img src="{picture_url(picture)}" alt="{alt}"><figcaption>{name}</figcaption></figure>'
        for name, alt, picture in cells
    )
    return f'<div class="row">{"".join(figures)}</div>'


def cards_markup(cards: Sequence[GroupCard], layer: str, chosen: int, labels_come: bool = False) -> str:
    """A radio button a group. labels_come: parts are still being matched."""
    buttons = []
    # One button of a radio group is in the order of the tab key: the chosen one, else the first.
    reachable = chosen if any(card.group == chosen for card in cards) else cards[0].group if cards else -1
    for card in cards:
        part = "" if card.part is None else card.part if card.beats_chance else f"{card.part}, as random"
        part = "matching parts ..." if labels_come and not part else part
        facts = f"{card.energy_share:.0%} of energy", f"{card.num_channels} channel{'s' * (card.num_channels != 1)}"
        name = ", ".join(filter(None, (f"group {card.group}", part, *facts)))
        is_chosen = card.group == chosen
        buttons.append(
            f'<button type="button" role="radio" aria-checked="{str(is_chosen).lower()}" data-action="choose"'
            f' data-number="{card.group}"'
            f' data-key="choose{card.group}"'
            f' tabindex="{0 if card.group == reachable else -1}" aria-label="{escape(name)}">'
            f'<img src="{picture_url(card.thumbnail)}" alt=""><b>{card.group}</b>'
            + (f'<span class="{"part" if card.beats_chance else "random"}">{escape(part)}</span>' if part else "")
            + "".join(f"<span>{fact}</span>" for fact in facts)
            + "</button>"
        )
    return f'<div role="radiogroup" aria-label="Groups of layer {escape(layer)}">{"".join(buttons)}</div>'


def edits_markup(entries: Sequence[Entry]) -> str:
    """The list of edits, first to last, each with its controls."""
    if not entries:
        return '<p class="hint">No edits yet: move a slider of a tab.</p>'
    rows = []
    for position, entry in enumerate(entries):
        text, number = escape(entry.change.text), entry.number

        def button(action: str, sign: str, name: str, is_off: bool = False, text: str = text, number: int = number) -> str:
            disabled = " disabled" if is_off else ""
            return (
                f'<button type="button" data-action="{action}" data-number="{number}" data-key="{action}{number}"'
                f' aria-label="{name}: {text}" title="{name}"{disabled}>{sign}</button>'
            )

        rows.append(
            f'<li class="{"" if entry.is_on else "off"}"><label><input type="checkbox" data-action="switch"'
            f' data-number="{number}" data-key="switch{number}"{" checked" if entry.is_on else ""}> {text}</label>'
            f'<input type="number" step="any" data-action="amount" data-number="{number}" data-key="amount{number}"'
            f' aria-label="Amount of {text}" value="{entry.change.amount:g}">'
            + button("up", "&uarr;", "Earlier", position == 0)
            + button("down", "&darr;", "Later", position == len(entries) - 1)
            + button("remove", "&times;", "Remove")
            + "</li>"
        )
    return f'<ol aria-label="Edits, first to last">{"".join(rows)}</ol>'


def message_markup(text: str, is_error: bool = False) -> str:
    """One line that a screen reader says at once."""
    return f'<p role="{"alert" if is_error else "status"}" class="{"error" if is_error else "note"}">{escape(text)}</p>'


def download_markup(files: Sequence[tuple[str, bytes, str]]) -> str:
    """Links that save (name, content, type)."""
    return "".join(
        f'<a href="{data_url(content, kind)}" download="{escape(name)}">Save {escape(name)} ({len(content) / 1000:.0f} kB)</a>'
        for name, content, kind in files
    )


def command_markup(line: str) -> str:
    """A command line that can be copied."""
    return (
        "<label>The command that makes the same picture, beside these files"
        f'<textarea readonly rows="3">{escape(line)}</textarea></label>'
        '<button type="button" data-action="copy">Copy</button>'
    )


def image_markup(url: str, alt: str, name: str) -> str:
    """A wide picture or film with a link that saves it."""
    return (
        f'<figure class="wide"><img src="{url}" alt="{escape(alt)}"></figure><a href="{url}" download="{escape(name)}">'
        f"Save {escape(name)}</a>"
    )


def row_markup(cells: Sequence[str]) -> str:
    """Pieces of a page side by side, in as many rows as they need."""
    return f'<div class="row">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'
