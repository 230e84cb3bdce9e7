"""torchrun for trainings: sarigan launch --standalone --nproc_per_node=8 -m sarigan train --config CONFIG [...]

In a checkout: python scripts/launch.py --standalone --nproc_per_node=8 scripts/train.py --config CONFIG [...]

Takes torchrun's arguments. What is wrong with the input is found once, in one process, before anything starts (exit code 2).
SIGTERM, SIGHUP or Ctrl-C goes to every process, each saves and ends, and so does this one: exit code 0 when all did. Asked
twice, it kills them and ends with 130.
"""

# isort: split
from sarigan.runs import early_exit  # noqa: F401, before the imports that take seconds

# isort: split
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import determine_local_world_size, parse_args, parse_min_max_nnodes, run

from sarigan import launcher

POLL_SECONDS = 0.2
FAILED, STOPPED_AT_ONCE = 1, 130


def main() -> None:
    """Check, start, wait, pass signals on."""
    options = parse_args(sys.argv[1:])
    _, num_nodes = parse_min_max_nnodes(options.nnodes)
    total = num_nodes * determine_local_world_size(options.nproc_per_node)
    asked = "--dry-run" in options.training_script_args
    module = ["-m"] if options.module else []
    script = [sys.executable, *module, options.training_script, *options.training_script_args]
    checked = subprocess.run([*script, "--dry-run", "--processes", str(total)], stdout=None if asked else subprocess.DEVNULL)
    if checked.returncode or asked:
        raise SystemExit(checked.returncode)
    # It would warn that signals are not its own here.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.ERROR)
    os.environ[launcher.VARIABLE] = str(os.getpid())
    job = Job(options)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, job.request_stop)
    raise SystemExit(job.wait())


class Job:
    """torchrun's agent in a thread of its own: in the main thread it would answer a signal by ending with a traceback."""

    def __init__(self, options: object) -> None:
        self.options = options
        self.code = FAILED
        self.requests = 0
        self.thread = threading.Thread(target=self._run, name="agent", daemon=True)

    def _run(self) -> None:
        try:
            run(self.options)
            self.code = 0
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            ended = f"by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else f"with {failure.exitcode}"
            print(f"rank {rank} ended {ended}, and no restart is left", file=sys.stderr)
            self.code = failure.exitcode if failure.exitcode > 0 else FAILED

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """The first request lets every process of this machine save and end; the second ends them at once."""
        self.requests += 1

    def wait(self) -> int:
        """Start the agent, wait for its end and return its exit code."""
        self.thread.start()
        told: set[int] | None = None
        while self.thread.is_alive():
            self.thread.join(POLL_SECONDS)
            here = children()
            if self.requests and told is None:
                told = here
                send(signal.SIGTERM, told)
                if not told:  # it waits for other machines
                    leave(0)
            # Others than those that were asked: one of them has failed instead, and a restart is under way.
            if self.requests > 1 or (told is not None and here - told):
                leave(STOPPED_AT_ONCE if self.requests > 1 else FAILED)
        return self.code


def children() -> set[int]:
    """Processes that this one has started."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def send(number: signal.Signals, processes: set[int]) -> None:
    """A signal to each process that is still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def leave(code: int) -> NoReturn:
    """End now, with all processes: an orderly end would give the agent time to start others, which nobody would end."""
    send(signal.SIGKILL, children())
    os._exit(code)
