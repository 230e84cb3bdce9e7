"""One preparation from its start, or from where it was stopped, to its end."""

import datetime
import math
import platform
import signal
import sqlite3
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import PIL
from tqdm import tqdm

from sarigan.data.avatars.dataset import RESOLUTIONS as AVATAR_RESOLUTIONS
from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.lmdb.dataset import LmdbFile, is_lmdb, partial_path
from sarigan.data.lmdb.format import HEADER_KEY, MAX_IMAGES, STATE_KEY, Header, Recipe
from sarigan.data.prepare.destination import LISTING_NAME, check_destination, destination_lock, discard_if_empty, publish
from sarigan.data.prepare.label_maps import refuse_label_maps
from sarigan.data.prepare.listing import Listing
from sarigan.data.prepare.sources.layouts import LayoutSource
from sarigan.data.prepare.sources.lmdb import LsunSource, PreparedSource
from sarigan.data.prepare.sources.source import AvatarSource, FolderSource, Source, ZipSource
from sarigan.data.prepare.sources.tar import TarSource, is_tar
from sarigan.data.prepare.worker_pool import Skipped, WorkerPool, run_ahead
from sarigan.data.prepare.writer import SetWriter
from sarigan.errors import InputError
from sarigan.files.paths import kind_of
from sarigan.progress import progress_bar
from sarigan.signals import handling

AVATARS = "avatars"
_CHUNKS_AHEAD = 16  # of about 2 MB


@dataclass(frozen=True)
class Options:
    """How a set is prepared, apart from what decides its pixels.

    Validated when made; `InputError` names the option of scripts/prepare_data.py.
    """

    num_workers: int = 2
    strict: bool = False  # stop at the first broken picture
    max_broken: int = 1000  # stop when there are more
    num_images: int | None = None  # at most so many, the first by key; None: all
    attributes: str | None = None  # a CSV or JSON file | none | None: the source's own
    labels: str = "auto"  # auto | none
    include: tuple[str, ...] = ()  # patterns of names; none: all
    exclude: tuple[str, ...] = ()
    label_maps: str = "refuse"  # refuse | keep: prepare them as if they were photographs
    seed: int = 0  # of avatars
    commit_megabytes: float = 16.0  # of records that a kill can cost, at most
    layouts: LayoutDataConfig | None = None  # how layouts are read; None: the set has none

    def __post_init__(self) -> None:
        if not (math.isfinite(self.commit_megabytes) and self.commit_megabytes > 0):
            raise InputError(f"--commit-megabytes must be a positive number, got {self.commit_megabytes}")
        for option, value, lowest in (
            ("--workers", self.num_workers, 1),
            ("--max-broken", self.max_broken, 0),
            ("--num-images", self.num_images, 1),
        ):
            if value is not None and value < lowest:
                raise InputError(f"{option} must be at least {lowest}, got {value}")
        if self.num_images is not None and self.num_images > MAX_IMAGES:
            raise InputError(f"--num-images must be at most {MAX_IMAGES}, all that a set can hold, got {self.num_images}")
        if self.labels not in ("auto", "none"):
            raise InputError(f"--labels must be auto or none, got {self.labels!r}")
        if self.label_maps not in ("refuse", "keep"):
            raise InputError(f"--label-maps must be refuse or keep, got {self.label_maps!r}")


@dataclass(frozen=True)
class Outcome:
    """What came of `prepare`."""

    header: Header | None  # None: stopped before the end
    num_entries: int  # done so far, of num_all
    num_all: int
    report: dict[str, Any]


def prepare(source_path: str, destination: Path, recipe: Recipe, options: Options) -> Outcome:
    """Prepare a set, or go on with it. Ctrl-C and SIGTERM stop between pictures; everything so far is kept.

    Raises InputError for whatever the user can put right.
    """
    partial = partial_path(destination)
    try:
        check_destination(destination, Path(source_path))
        partial.mkdir(parents=True, exist_ok=True)
        with destination_lock(partial):
            with closing(SetWriter(partial)) as writer:
                is_finished = writer.is_finished  # but for its name: killed at the very end
            if not is_finished:
                try:
                    stopped = _write(source_path, partial, recipe, options)
                except InputError:
                    discard_if_empty(partial)
                    raise
                if stopped is not None:
                    return stopped
            dataset = publish(partial, destination)
    except sqlite3.Error as error:
        raise InputError(f"{partial}: cannot write the list of the source ({error})") from None
    except OSError as error:
        raise InputError(f"{error.filename or partial}: {error.strerror or error}") from None
    report = dataset.report()
    return Outcome(dataset.header, report["entries"], report["entries"], report)


def _write(source_path: str, partial: Path, recipe: Recipe, options: Options) -> Outcome | None:
    """Write the whole set, or what is missing of it; an outcome only when stopped before the end."""
    source, recipe = _open(source_path, partial, recipe, options)
    with ExitStack() as stack:
        # First of all, while there is nothing open that a fork would share.
        pool = stack.enter_context(WorkerPool(source, recipe, options.num_workers))
        patterns = options.include, options.exclude
        listing = Listing(source, partial / LISTING_NAME, options.attributes, options.labels, *patterns)
        stack.callback(listing.close)
        if source.holds_files and options.layouts is None and options.label_maps == "refuse":
            refuse_label_maps(source, listing.names())
        _check_num_images(listing, options)
        writer = stack.enter_context(closing(SetWriter(partial, options.commit_megabytes)))
        _start_or_go_on(writer, _task(recipe, options, listing), source)
        if not _run(pool, writer, listing, options, stack.enter_context(stop_flag())):
            return Outcome(None, writer.state.num_entries, listing.num_entries, {})
        header = Header(writer.state.num_images, recipe, listing.label_names, listing.attributes)
        writer.finish(header, _report(writer, listing))
    return None


def _check_num_images(listing: Listing, options: Options) -> None:
    """InputError, before days of work, for more images than a set can number."""
    if options.num_images is None and listing.num_entries > MAX_IMAGES:
        raise InputError(
            f"{listing.source.description}: {listing.num_entries:,} pictures, a set holds at most {MAX_IMAGES:,};"
            f" --num-images {MAX_IMAGES} takes the first"
        )


def _open(source_path: str, workspace: Path, recipe: Recipe, options: Options) -> tuple[Source, Recipe]:
    """The source, and the recipe as it applies to it: pictures of some sources are cropped already."""
    if source_path == AVATARS:
        for resolution in recipe.resolutions:
            if resolution not in AVATAR_RESOLUTIONS:
                raise InputError(f"--resolution of avatars must be in {AVATAR_RESOLUTIONS}, got {resolution}")
        recipe = Recipe(
            recipe.resolutions, crop="none", resize_filter="box", alpha="drop", encoding=recipe.encoding, layout=recipe.layout
        )
        return AvatarSource(options.num_images or 100_000, options.seed, recipe), recipe
    if options.layouts is not None:
        return LayoutSource(Path(source_path), options.layouts), recipe
    source = open_source(Path(source_path), workspace)
    return source, source.adapt(recipe) if isinstance(source, PreparedSource) else recipe


def open_source(path: Path, workspace: Path) -> Source:
    """The source at a path; a compressed tar file is unpacked in the workspace. InputError when it is none."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(f"{path}: no such file or folder; a source is a folder, zip, tar or LMDB of pictures, or `avatars`")
    if is_lmdb(path):
        file = LmdbFile(path)
        prepared = file.get(HEADER_KEY) is not None or file.get(STATE_KEY) is not None
        return PreparedSource(path) if prepared else LsunSource(path)
    if kind == "folder":
        return FolderSource(path)
    if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
        return ZipSource(path)
    if is_tar(path):
        return TarSource(path, workspace)
    raise InputError(f"{path}: neither a folder nor a zip, tar or LMDB file")


def _task(recipe: Recipe, options: Options, listing: Listing) -> dict[str, Any]:
    """The settings that must not change when an interrupted preparation goes on."""
    settings = {**asdict(recipe), "resolutions": list(recipe.resolutions)}
    settings |= {"num_images": options.num_images, "labels": options.labels}
    settings |= {"include": [*options.include] or None, "exclude": [*options.exclude] or None}
    if options.layouts is not None:
        settings |= {"layout": asdict(options.layouts)}
    return {"settings": settings, "fingerprint": listing.fingerprint}


def _start_or_go_on(writer: SetWriter, task: dict[str, Any], source: Source) -> None:
    """InputError when another task was interrupted here."""
    if writer.task is None or not writer.state.num_images:
        writer.start(task)
        return
    before, now = writer.task["settings"], task["settings"]
    differing = [f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in now if before.get(name) != now[name]]
    if differing:
        raise InputError(
            f"{writer.folder}: was begun with other settings ({'; '.join(differing)}); finish it with those, or delete it to"
            " start over"
        )
    if writer.task["fingerprint"] != task["fingerprint"]:
        raise InputError(
            f"{source.description}: has changed since the preparation was interrupted; delete {writer.folder} to start over"
        )


def _run(pool: WorkerPool, writer: SetWriter, listing: Listing, options: Options, stop: threading.Event) -> bool:
    """Prepare the remaining entries; False when stopped before the end."""
    state = writer.state
    # The pool works on while the writer waits for the disk.
    results = run_ahead(pool.run(listing.items(bytes.fromhex(state.key))), _CHUNKS_AHEAD)
    with closing(results) as chunks, _progress(state.num_entries, listing) as bar:
        for chunk in chunks:
            for item, result in chunk:
                if state.num_images == options.num_images:
                    break
                if isinstance(result, Skipped) and result.kind == "broken":
                    _check_broken(writer, item.info["name"], result.reason, listing.source, options)
                writer.append(item, result)
            bar.update(state.num_entries - bar.n)
            writer.commit_if_due()
            if state.num_images == options.num_images:
                break
            if stop.is_set():
                writer.commit()
                return False
    writer.commit()
    if not state.num_images:
        first = writer.first_skipped()
        example = f"; the first, {first['name']}: {first['reason']}" if first else ""
        raise InputError(f"{listing.source.description}: none of its {state.num_entries} pictures is usable{example}")
    return True


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C stops at once."""
    stop = threading.Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with handling(request_stop):
        yield stop


def _report(writer: SetWriter, listing: Listing) -> dict[str, Any]:
    return {
        "source": listing.source.description,
        "entries": listing.num_entries,
        "skipped": writer.state.skipped,
        "converted": writer.state.converted,
        "ignored": dict(listing.ignored),
        "table_rows_without_picture": listing.rows_without_image,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "pillow": PIL.__version__},
    }


def _progress(initial: int, listing: Listing) -> "tqdm[Any]":
    options = {"desc": "preparing", "unit": "img", "dynamic_ncols": True, "mininterval": 0.5}
    return progress_bar(total=listing.num_entries, initial=initial, **options)


def _check_broken(writer: SetWriter, name: str, reason: str, source: Source, options: Options) -> None:
    """InputError when this broken picture is one too many; what was done before it is kept."""
    if options.strict:
        writer.commit()
        raise InputError(f"{source.description}: {name}: {reason}")
    if writer.state.skipped.get("broken", 0) >= options.max_broken:
        writer.commit()
        raise InputError(
            f"{source.description}: more than {options.max_broken} broken pictures, the last {name}: {reason};"
            " if that is right, raise --max-broken"
        )
    tqdm.write(f"skipped {name}: {reason}", file=sys.stderr)
