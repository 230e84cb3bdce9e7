"""Where a generated picture comes from: a text chunk of its PNG file, and whether the pictures of a folder have one origin.

The chunk has the keyword `sarigan` (PNG specification, 11.3.4) and holds JSON: checkpoint (SHA-256 of the file), seed, psi,
noise, commit of the code, and what else was set. Any PNG tool shows it, for instance `identify -verbose`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from PIL.PngImagePlugin import PngInfo

from sarigan.files.reading import json_object

KEYWORD = "sarigan"
HEAD_BYTES = 4096  # of a file: the chunk stands before the pixels
OWN = ("seed", "class", "commit")  # differ between pictures that belong together
MAX_SHOWN = 4
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def origin_chunk(origin: Mapping[str, Any]) -> PngInfo:
    """For `Image.save(..., pnginfo=...)`."""
    chunk = PngInfo()
    chunk.add_text(KEYWORD, json.dumps(origin))
    return chunk


def read_origin(head: bytes) -> dict[str, Any] | None:
    """The origin in the first bytes of a picture file; None where there is none."""
    if not head.startswith(_SIGNATURE):
        return None
    at = len(_SIGNATURE)
    while at + 8 <= len(head):
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind in (b"IDAT", b"IEND"):
            return None
        keyword, _, text = head[at + 8 : at + 8 + size].partition(b"\0")
        if kind == b"tEXt" and keyword == KEYWORD.encode():
            return json_object(text) or None
        at += 12 + size
    return None


def mixture_warning(heads: Iterable[bytes], place: str) -> str | None:
    """One line when pictures at `place`, by their first bytes, come of several models or settings; None otherwise."""
    counts: Counter[str] = Counter()
    for head in heads:
        origin = read_origin(head)
        counts["unknown origin" if origin is None else _described(origin)] += 1
    if len(counts) < 2:
        return None
    shown = [f"{count} of {text}" for text, count in counts.most_common(MAX_SHOWN)]
    more = f"; and {len(counts) - MAX_SHOWN} more" if len(counts) > MAX_SHOWN else ""
    return (
        f"warning: {place}: a mixture of images of {len(counts)} models or settings: {'; '.join(shown)}{more}; the numbers"
        " below are of the mixture and of none of them"
    )


def _described(origin: Mapping[str, Any]) -> str:
    shared = {name: value for name, value in origin.items() if name not in OWN}
    checkpoint = str(shared.pop("checkpoint", "unknown"))[:12]
    return ", ".join([f"checkpoint {checkpoint}", *(f"{name} {value}" for name, value in sorted(shared.items()))])
