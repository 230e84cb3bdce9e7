"""Processes that load, fit and encode pictures; results come in order, whatever the number of processes.

A worker that dies is noticed, and workers notice when their parent dies: both sides see the other's end of the pipe close.
Why not PyTorch's `DataLoader`: it takes a fifth more processor time for raw records and 0.4 GB more memory (docs/datasets.md).
"""

import hashlib
import multiprocessing
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pickle import PickleBuffer
from typing import Any, NamedTuple, TypeVar

from sarigan.data.lmdb.format import Recipe, encode
from sarigan.data.prepare.fit import UnfitPicture
from sarigan.data.prepare.listing import Item
from sarigan.data.prepare.result_pipe import SLOTS, Pipe, ResultPipe, shared_memory
from sarigan.data.prepare.sources.source import Source
from sarigan.errors import InputError
from sarigan.files.picture import BrokenPicture

# Pixels in a chunk, in bytes: large enough to make messages cheap, small enough to keep all workers busy and memory low.
_CHUNK_BYTES = 2 << 20
_CHUNK_ITEMS = 256
_CHUNK_LOCATOR_BYTES = 32 << 10  # a chunk's message always fits into the pipe, so sending one never waits
_CHUNKS_AHEAD = 4  # a worker's finished chunks that may wait for an earlier one


class Prepared(NamedTuple):
    """By resolution, ascending: the records of one entry and their SHA-256; what was converted; records of layouts."""

    records: dict[int, bytes]
    digests: dict[int, bytes]
    notes: list[str]
    layouts: dict[int, bytes] = {}


class Skipped(NamedTuple):
    """An entry that is left out: `broken`, or `unfit` for the recipe."""

    kind: str
    reason: str


class _SourceError(NamedTuple):
    """The source itself cannot be read."""

    reason: str


class _Failure(NamedTuple):
    """An unexpected exception: an error of this program."""

    traceback: str


Result = Prepared | Skipped
_Answer = Result | _SourceError | _Failure
_STOPS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_END = 10.0  # of a worker whose pipe has closed

T = TypeVar("T")
_POLL_SECONDS = 0.1


class WorkerPool:
    """Use as a context manager; start it before anything that must not be forked is open."""

    def __init__(self, source: Source, recipe: Recipe, num_workers: int) -> None:
        self._source, self._recipe = source, recipe
        # Forking starts a worker in a hundredth of the time and shares memory; elsewhere than on Linux it is not safe.
        method = "fork" if sys.platform == "linux" else "spawn"
        context: Any = multiprocessing.get_context(method)
        self._pipes: list[ResultPipe] = []
        self._processes = []
        for _ in range(num_workers):
            mine, theirs = context.Pipe()
            memory = shared_memory(max(_CHUNK_BYTES, recipe.raw_bytes)) if method == "fork" else None
            self._pipes.append(ResultPipe(mine, memory))
            inherited = [pipe.pipe for pipe in self._pipes] if method == "fork" else []
            arguments = (ResultPipe(theirs, memory), source, recipe, inherited)
            process = context.Process(target=_work, args=arguments, daemon=True)
            with _signals_blocked():  # a fork has the handlers of this process, which may raise, until it sets its own
                process.start()
            theirs.close()
            self._processes.append(process)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def run(self, items: Iterator[Item]) -> Generator[list[tuple[Item, Result]], None, None]:
        """Chunk after chunk of the items with their results. InputError when the source fails or a worker dies."""
        chunks = self._chunks(items)
        sent: dict[int, list[Item]] = {}
        done: dict[int, list[_Answer]] = {}
        in_work: dict[Pipe, deque[int]] = {pipe.pipe: deque() for pipe in self._pipes}
        next_in = next_out = 0
        chunk: list[Item] | None = []
        while True:
            for pipe in self._pipes:
                while len(in_work[pipe.pipe]) < SLOTS and next_in - next_out < _CHUNKS_AHEAD * len(self._pipes):
                    chunk = next(chunks, None) if chunk is not None else None
                    if chunk is None:
                        break
                    sent[next_in] = chunk
                    in_work[pipe.pipe].append(next_in)
                    self._send(pipe.pipe, chunk)
                    next_in += 1
            if next_in == next_out:
                return
            ready = wait([pipe for pipe, numbers in in_work.items() if numbers])
            for pipe in self._pipes:
                if pipe.pipe not in ready:
                    continue
                number = in_work[pipe.pipe].popleft()
                try:
                    done[number] = pipe.receive_result()
                except (EOFError, OSError):
                    raise self._death(pipe.pipe, sent[number]) from None
            while next_out in done:
                yield self._paired(sent.pop(next_out), done.pop(next_out))
                next_out += 1

    def _send(self, pipe: Pipe, chunk: list[Item]) -> None:
        try:
            pipe.send([item.locator for item in chunk])
        except OSError:
            raise self._death(pipe, chunk) from None

    def _chunks(self, items: Iterator[Item]) -> Iterator[list[Item]]:
        most = max(1, min(_CHUNK_ITEMS, _CHUNK_BYTES // self._recipe.raw_bytes))
        chunk: list[Item] = []
        locator_bytes = 0
        for item in items:
            chunk.append(item)
            locator_bytes += len(item.locator)
            if len(chunk) == most or locator_bytes > _CHUNK_LOCATOR_BYTES:
                yield chunk
                chunk, locator_bytes = [], 0
        if chunk:
            yield chunk

    def _paired(self, chunk: list[Item], results: list[_Answer]) -> list[tuple[Item, Result]]:
        pairs = []
        for item, result in zip(chunk, results, strict=True):
            if isinstance(result, _SourceError):
                raise InputError(
                    f"{self._source.description}: cannot read {item.info['name']} ({result.reason}); the same command goes on"
                )
            if isinstance(result, _Failure):
                raise RuntimeError(f"{self._source.description}: {item.info['name']}, in a worker:\n{result.traceback}")
            pairs.append((item, result))
        return pairs

    def _death(self, pipe: Pipe, chunk: list[Item]) -> InputError:
        """The line for a worker that is gone, by what ended it: the system kills (SIGKILL) when memory runs out."""
        process = next(p for p, end in zip(self._processes, self._pipes, strict=True) if end.pipe is pipe)
        process.join(_SECONDS_TO_END)
        code = process.exitcode
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        first, last = chunk[0].info["name"], chunk[-1].info["name"]
        where = f"{self._source.description}: a worker process was killed between {first} and {last}"
        if name == "SIGKILL":
            return InputError(
                f"{where}, perhaps for want of memory; the same command goes on, with fewer --workers if it happens again"
            )
        return InputError(f"{where} ({name}): the source is damaged there, or has changed while it was read")


def run_ahead(source: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The items of `source`; a thread draws up to `depth` of them ahead while the caller waits for the disk.

    An exception of the source is raised here.
    """
    drawn: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def offer(item: T | None, end: BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                drawn.put((item, end), timeout=_POLL_SECONDS)
                return

    def draw() -> None:
        try:
            for item in source:
                offer(item, None)
                if stopped.is_set():
                    break
            offer(None, StopIteration())
        except BaseException as error:
            offer(None, error)
        finally:
            source.close()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            item, end = drawn.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]  # an item that comes without an end
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: ResultPipe, source: Source, recipe: Recipe, inherited: list[Pipe]) -> None:
    # Ctrl-C reaches the whole process group; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    for other in inherited:
        other.close()
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            locators = pipe.pipe.recv()
            pipe.send_result([_prepare(source, locator, recipe) for locator in locators])


def _prepare(source: Source, locator: bytes, recipe: Recipe) -> _Answer:
    try:
        images, notes = source.load(locator, recipe)
        layouts = source.load_layouts(locator, recipe) if recipe.layout is not None else []
    except BrokenPicture as error:
        return Skipped("broken", str(error))
    except UnfitPicture as error:
        return Skipped("unfit", str(error))
    except (OSError, InputError) as error:
        return _SourceError(getattr(error, "strerror", None) or str(error))
    except MemoryError:
        return _SourceError("not enough memory; use fewer --workers")
    except Exception:
        return _Failure(traceback.format_exc())
    records: dict[int, Any] = {}
    digests = {}
    for resolution, image in zip(recipe.resolutions, images, strict=True):
        record = encode(image, recipe.encoding)
        records[resolution], digests[resolution] = PickleBuffer(record), hashlib.sha256(record).digest()
    return Prepared(records, digests, notes, dict(zip(recipe.resolutions, layouts, strict=False)))
