"""Drawing from a generator in a thread, so that its work goes on while the caller waits for the disk."""

import queue
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


def run_ahead(source: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The items of `source`, up to `depth` of them drawn ahead; its exception when it raises one."""
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
