"""Prepare a data set: sarigan prepare_data SOURCE DEST --resolution 256. The same command goes on after a stop.

SOURCE is a folder, zip file, tar file or LMDB of pictures (LSUN's export), a set that is prepared already (to make a
smaller one), or the word `avatars`. docs/datasets.md has the commands for the data sets of the paper.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.lmdb.format import CROPS, ENCODINGS, FILTERS, Recipe
from sarigan.data.prepare.inspection import contact_sheet_path, report_text, save_contact_sheet, verify
from sarigan.data.prepare.job import Options, prepare
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.picture import ALPHAS

STOPPED = 130  # exit code after Ctrl-C, as shells have it


def parse_arguments() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", metavar="SOURCE")
    parser.add_argument("destination", nargs="?", type=Path, metavar="DEST")
    parser.add_argument("--resolution", type=int, nargs="+", metavar="R", help="one or several; all are stored")
    parser.add_argument("--crop", choices=CROPS, default="center", help="center_wide is 4:3, padded (default center)")
    parser.add_argument("--filter", choices=FILTERS, default="lanczos", help="of resizing, antialiased (default lanczos)")
    parser.add_argument("--alpha", choices=ALPHAS, default="white", help="transparent pixels (default: over white)")
    parser.add_argument("--enlarge", action="store_true", help="enlarge small pictures instead of leaving them out")
    parser.add_argument("--encoding", choices=ENCODINGS, default="raw", help="lossless both (default raw)")
    parser.add_argument("--attributes", metavar="FILE", help="CSV or dataset.json; none ignores the source's own")
    parser.add_argument("--labels", choices=("auto", "none"), default="auto", help="none: subfolders are no classes")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="only such names (repeatable)")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="not these (repeatable)")
    parser.add_argument("--label-maps", choices=("refuse", "keep"), default="refuse", help="keep: prepare them as photographs")
    layouts = parser.add_argument_group("layouts", "of a folder or zip file with images/ and labels/, or of avatars")
    layouts.add_argument("--num-classes", type=int, metavar="K", help="the set has layouts of K classes (avatars: 10)")
    layouts.add_argument("--void", type=int, metavar="V", help="value in the files that means no class")
    layouts.add_argument("--instances", action="store_true", help="with the edges of the objects in instances/")
    layouts.add_argument("--colors", metavar="FILE", help="labels are colours: a text file with a line R G B name a class")
    parser.add_argument("--num-images", type=int, metavar="N", help="at most N (avatars: N, default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of avatars")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--commit-megabytes", type=float, default=16.0, metavar="MB", help="saved at least so often (16)")
    parser.add_argument("--strict", action="store_true", help="stop at the first broken picture")
    parser.add_argument("--max-broken", type=int, default=1000, metavar="N", help="stop when more are broken (default 1000)")
    parser.add_argument("--verify", type=Path, metavar="DEST", help="check every record of a set against its hash, then stop")
    parser.add_argument("--info", type=Path, metavar="DEST", help="print a set's header, save a contact sheet, then stop")
    arguments = parser.parse_args()
    inspecting = arguments.verify or arguments.info
    if inspecting and arguments.source:
        parser.error("--verify and --info take no SOURCE")
    if not inspecting and not (arguments.source and arguments.destination and arguments.resolution):
        parser.error("SOURCE, DEST and --resolution are needed")
    return arguments


def main() -> None:
    """Parse, then prepare, verify or describe."""
    arguments = parse_arguments()
    with exit_on_input_error():
        if arguments.verify:
            header = verify(arguments.verify)
            print(f"{arguments.verify}: {header.num_images} images, all records match the hash {header.content_hash}")
        if arguments.info:
            dataset = LmdbDataset(arguments.info)
            print(report_text(dataset.header, dataset.report(), dataset.skipped()), end="")
            sheet = contact_sheet_path(arguments.info)
            save_contact_sheet(dataset, sheet)
            print(f"contact sheet: {sheet}")
        if arguments.source:
            _prepare(arguments)


def _layouts(arguments: argparse.Namespace) -> LayoutDataConfig | None:
    """How layouts are read; InputError for options that have no meaning without them."""
    if arguments.num_classes is None:
        for option in ("void", "colors", "instances"):
            if getattr(arguments, option):
                raise InputError(f"--{option} is of layouts: it needs --num-classes")
        return None
    name = "avatars" if arguments.source == "avatars" else "folder"
    return LayoutDataConfig(
        name=name, path=arguments.source, num_classes=arguments.num_classes, void=arguments.void,
        instances=arguments.instances, colors=arguments.colors,
    )  # fmt: skip


def _prepare(arguments: argparse.Namespace) -> None:
    layouts = _layouts(arguments)
    recipe = Recipe(
        tuple(arguments.resolution),
        crop=arguments.crop,
        resize_filter=arguments.filter,
        alpha=arguments.alpha,
        enlarge=arguments.enlarge,
        encoding=arguments.encoding,
        layout=None if layouts is None else layouts.recipe(),
    )
    options = Options(
        num_workers=arguments.workers,
        strict=arguments.strict,
        max_broken=arguments.max_broken,
        num_images=arguments.num_images,
        attributes=arguments.attributes,
        labels=arguments.labels,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        label_maps=arguments.label_maps,
        seed=arguments.seed,
        commit_megabytes=arguments.commit_megabytes,
        layouts=layouts,
    )
    outcome = prepare(arguments.source, arguments.destination, recipe, options)
    if outcome.header is None:
        print(f"stopped after {outcome.num_entries} of {outcome.num_all}; the same command goes on")
        raise SystemExit(STOPPED)
    print(report_text(outcome.header, outcome.report, []), end="")
    count = f"{outcome.header.num_images} images{left_out(outcome.report)}"
    print(f"{arguments.destination}: {count}, hash {outcome.header.content_hash}")


def left_out(report: Mapping[str, Any]) -> str:
    """What of the source is not in the set, in brackets; nothing where all is."""
    counts = [f"{count} {kind}" for part in ("skipped", "ignored") for kind, count in report[part].items() if count]
    return f" (left out: {', '.join(counts)})" if counts else ""
