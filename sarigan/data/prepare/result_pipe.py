"""Sending large results from a worker: through memory that both processes share where they were forked, else in the pipe.

A pipe copies every byte four times, which costs as much as decoding a small picture. A worker has two slots of memory and
uses them in turn: with at most two tasks outstanding, the parent has taken a slot's result before the worker needs it again.
"""

import mmap
import pickle
from itertools import accumulate, cycle
from typing import Any

SLOTS = 2
Pipe = Any  # multiprocessing.connection.Connection, whose name and type differ between systems


class ResultPipe:
    """The end of a pipe that tasks and results go through. Both ends are made of the same memory, or of none.

    Bytes wrapped in `pickle.PickleBuffer` travel through the memory as long as they fit.
    """

    def __init__(self, pipe: Pipe, memory: list[mmap.mmap] | None) -> None:
        self.pipe = pipe
        self._memory = cycle(memory or [None])

    def send_result(self, result: Any) -> None:
        """From the worker; waits while the pipe is full. OSError when the parent is gone."""
        wrapped: list[pickle.PickleBuffer] = []
        message = pickle.dumps(result, protocol=5, buffer_callback=wrapped.append)
        buffers = [buffer.raw() for buffer in wrapped]
        ends = [*accumulate(buffer.nbytes for buffer in buffers)]
        slot = next(self._memory)
        if slot is None or not ends or ends[-1] > len(slot):
            self.pipe.send((message, [bytes(buffer) for buffer in buffers], None))
            return
        for buffer, end in zip(buffers, ends, strict=True):
            slot[end - buffer.nbytes : end] = buffer
        self.pipe.send((message, None, ends))

    def receive_result(self) -> Any:
        """In the parent, the results in the order they were sent; EOFError or OSError when the worker is gone."""
        message, buffers, ends = self.pipe.recv()
        slot = next(self._memory)
        if ends is not None:
            assert slot is not None
            buffers = [slot[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return pickle.loads(message, buffers=buffers)


def shared_memory(num_bytes: int) -> list[mmap.mmap]:
    """The slots of one worker, anonymous: forked processes share them and nothing is left behind."""
    return [mmap.mmap(-1, num_bytes) for _ in range(SLOTS)]
