"""Looking at a prepared set: its report, a contact sheet, and the proof that every record is what was written."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from sarigan.data.lmdb_dataset import LmdbDataset
from sarigan.data.lmdb_file import LmdbFile
from sarigan.data.lmdb_format import DIGEST_HEAD, EMPTY_CHAIN, Header, extend_chain, image_key, info_key
from sarigan.errors import InputError

REPORT_NAME = "report.txt"
SHEET_NAME = "contact_sheet.png"
_SHEET_IMAGES = 64
_SHEET_CELL = 128  # pixels


def verify(path: Path) -> Header:
    """Read every record of a finished set; InputError naming the first that is damaged, missing or too many."""
    dataset = LmdbDataset(path)
    header, resolutions = dataset.header, dataset.header.recipe.resolutions
    records = ((key, record) for key, record in LmdbFile(path).items() if not key.startswith(b"."))
    chain = EMPTY_CHAIN
    for index in tqdm(range(header.num_images), desc="verifying", unit="img", dynamic_ncols=True, mininterval=0.5):
        heads = []
        for wanted in [*(image_key(index, r) for r in resolutions), info_key(index)]:
            key, record = next(records, (b"the end", b""))
            if key != wanted:
                raise InputError(f"{path}: record {wanted.decode()} is missing (found {key.decode()}); prepare the set again")
            digest = hashlib.sha256(record)
            chain = extend_chain(chain, key, digest.digest())
            heads.append(digest.hexdigest()[:DIGEST_HEAD])
            if wanted == info_key(index):
                _check_info(path, record, resolutions, index, heads[:-1])
    surplus = next(records, None)
    if surplus is not None:
        raise InputError(f"{path}: record {surplus[0].decode()} is one too many; prepare the set again")
    if header.with_hash(chain).content_hash != header.content_hash:
        raise InputError(f"{path}: header or records differ from the hash {header.content_hash}; prepare the set again")
    return header


def _check_info(path: Path, record: bytes, resolutions: tuple[int, ...], index: int, heads: list[str]) -> None:
    try:
        info = json.loads(record)
        name, expected = info["name"], info["sha256"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: record {info_key(index).decode()} is damaged; prepare the set again") from None
    for resolution, head, wanted in zip(resolutions, heads, expected, strict=True):
        if head != wanted:
            key = image_key(index, resolution).decode()
            raise InputError(f"{path}: record {key} ({name}) is damaged; prepare the set again")


def report_text(header: Header, report: dict[str, Any], skipped: list[dict[str, str]]) -> str:
    """Header, report and the list of what was left out, for a person."""
    lines = [f"{key}: {_shown(value)}" for key, value in header.to_dict().items() if value is not None]
    lines += [f"{key}: {_shown(value)}" for key, value in report.items()]
    lines += [f"skipped ({entry['kind']}) {entry['name']}: {entry['reason']}" for entry in skipped]
    return "\n".join(lines) + "\n"


def save_contact_sheet(dataset: LmdbDataset, path: Path) -> None:
    """A PNG of up to 64 images from all over the set, row by row, scaled into cells of 128 pixels."""
    count = min(_SHEET_IMAGES, len(dataset))
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * _SHEET_CELL, math.ceil(count / columns) * _SHEET_CELL))
    for cell, index in enumerate(np.linspace(0, len(dataset) - 1, count).round().astype(int)):
        image = Image.fromarray(dataset[index].transpose(1, 2, 0))
        enlarged = Image.Resampling.NEAREST if dataset.resolution < _SHEET_CELL else Image.Resampling.LANCZOS
        image = image.resize((_SHEET_CELL, _SHEET_CELL), enlarged)
        sheet.paste(image, (cell % columns * _SHEET_CELL, cell // columns * _SHEET_CELL))
    sheet.save(path)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(str, value[:20]))
        return f"{shown}, ... ({len(value)})" if len(value) > 20 else shown
    return str(value)
