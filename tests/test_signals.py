"""Handlers for the time of a block."""

import os
import signal
import threading

import pytest

from sarigan.signals import handling


def test_requests_to_stop_are_noted_within_the_block() -> None:
    before, noted = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], []
    with pytest.raises(ZeroDivisionError), handling(lambda number, frame: noted.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        raise ZeroDivisionError
    assert sorted(noted) == [signal.SIGINT, signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_changes_nothing() -> None:
    found = []

    def look() -> None:
        with handling(lambda number, frame: None):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
