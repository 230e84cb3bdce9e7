"""Inspection of a prepared set: its report, a contact sheet, and a check of every record against its hash."""

import hashlib
import json
import math
import multiprocessing
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile
from sarigan.data.lmdb.format import DIGEST_HEAD, EMPTY_CHAIN, Header, extend_chain, image_key, info_key, layout_key
from sarigan.errors import InputError

REPORT_NAME = "report.txt"
SHEET_NAME = "contact_sheet.png"
_SHEET_IMAGES = 64
_SHEET_CELL = 128  # pixels


def verify(path: Path) -> Header:
    """Read every record of a finished set; InputError naming the first that is damaged, missing or too many.

    It runs in a process of its own: a damaged page can point outside the file, and reading there kills the process.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_verified, args=(path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        result = mine.recv()
    except EOFError:
        process.join()
        raise InputError(
            f"{path}: damaged; reading it ended the process ({_end(process.exitcode)}); prepare the set again"
        ) from None
    finally:
        process.terminate()
        process.join()
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Header)
    return result


def _send_verified(path: Path, pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        pipe.send(_verified(path))
    except Exception as error:
        pipe.send(error)


def _end(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def _verified(path: Path) -> Header:
    dataset = LmdbDataset(path)
    header, resolutions = dataset.header, dataset.header.recipe.resolutions
    records = ((key, record) for key, record in LmdbFile(path).items() if not key.startswith(b"."))
    chain = EMPTY_CHAIN
    for index in tqdm(range(header.num_images), desc="verifying", unit="img", dynamic_ncols=True, mininterval=0.5):
        heads = {}
        of_images = [image_key(index, r) for r in resolutions]
        of_layouts = [layout_key(index, r) for r in resolutions] if header.recipe.layout is not None else []
        for wanted in [*sorted([*of_images, *of_layouts]), info_key(index)]:
            key, record = next(records, (b"the end", b""))
            if key != wanted:
                raise InputError(f"{path}: record {wanted.decode()} is missing (found {key.decode()}); prepare the set again")
            digest = hashlib.sha256(record)
            chain = extend_chain(chain, key, digest.digest())
            heads[wanted] = digest.hexdigest()[:DIGEST_HEAD]
            if wanted == info_key(index):
                _check_info(path, record, index, {"sha256": of_images, "layout_sha256": of_layouts}, heads)
    surplus = next(records, None)
    if surplus is not None:
        raise InputError(f"{path}: record {surplus[0].decode()} is one too many; prepare the set again")
    if header.with_hash(chain).content_hash != header.content_hash:
        raise InputError(f"{path}: header or records differ from the hash {header.content_hash}; prepare the set again")
    return header


def _check_info(path: Path, record: bytes, index: int, keys: dict[str, list[bytes]], heads: dict[bytes, str]) -> None:
    try:
        info = json.loads(record)
        name, expected = info["name"], {field: info.get(field, []) for field in keys}
        if any(len(expected[field]) != len(wanted) for field, wanted in keys.items()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: record {info_key(index).decode()} is damaged; prepare the set again") from None
    for field, wanted in keys.items():
        for key, head in zip(wanted, expected[field], strict=True):
            if heads[key] != head:
                raise InputError(f"{path}: record {key.decode()} ({name}) is damaged; prepare the set again")


def report_text(header: Header, report: dict[str, Any], skipped: list[dict[str, str]]) -> str:
    """Header, report and the list of what was left out, for a person."""
    lines = [f"{key}: {_shown(value)}" for key, value in header.to_dict().items() if value is not None]
    lines += [f"{key}: {_shown(value)}" for key, value in report.items()]
    lines += [f"skipped ({entry['kind']}) {entry['name']}: {entry['reason']}" for entry in skipped]
    return "\n".join(lines) + "\n"


def contact_sheet_path(path: Path) -> Path:
    """Where the sheet of a set goes: into its folder; beside it when the set is a single file."""
    return path / SHEET_NAME if path.is_dir() else path.with_name(f"{path.stem}_{SHEET_NAME}")


def save_contact_sheet(dataset: LmdbDataset, path: Path) -> None:
    """A PNG of up to 64 images from all over the set, row by row, scaled into cells of 128 pixels.

    InputError when it cannot be written.
    """
    count = min(_SHEET_IMAGES, len(dataset))
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * _SHEET_CELL, math.ceil(count / columns) * _SHEET_CELL))
    for cell, index in enumerate(np.linspace(0, len(dataset) - 1, count).round().astype(int)):
        image = Image.fromarray(dataset[index].transpose(1, 2, 0))
        enlarged = Image.Resampling.NEAREST if dataset.resolution < _SHEET_CELL else Image.Resampling.LANCZOS
        image = image.resize((_SHEET_CELL, _SHEET_CELL), enlarged)
        sheet.paste(image, (cell % columns * _SHEET_CELL, cell // columns * _SHEET_CELL))
    try:
        sheet.save(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write the contact sheet ({error.strerror or error})") from None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(str, value[:20]))
        return f"{shown}, ... ({len(value)})" if len(value) > 20 else shown
    return str(value)
