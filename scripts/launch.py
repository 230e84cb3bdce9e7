"""torchrun for scripts/train.py, with better manners: python scripts/launch.py --standalone --nproc_per_node=8 \\
    scripts/train.py --config configs/lsun_cat_256_sarigan.yaml

Takes torchrun's arguments. What is wrong with the input is found once, in one process, before anything starts (exit code 2).
SIGTERM, SIGHUP or Ctrl-C goes to every process, each saves and ends, and so does this one: exit code 0 when all did.
"""

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import determine_local_world_size, parse_args, parse_min_max_nnodes, run

FORWARD_SECONDS = 0.2


def main() -> None:
    """Check, start, wait, pass signals on."""
    options = parse_args(sys.argv[1:])
    _, num_nodes = parse_min_max_nnodes(options.nnodes)
    total = num_nodes * determine_local_world_size(options.nproc_per_node)
    script = [sys.executable, options.training_script, *options.training_script_args]
    checked = subprocess.run([*script, "--dry-run", "--processes", str(total)], stdout=subprocess.DEVNULL)
    if checked.returncode or "--dry-run" in options.training_script_args:
        raise SystemExit(checked.returncode)
    # It would warn that signals are not its own here.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.ERROR)
    job = Job(options)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, job.request_stop)
    raise SystemExit(job.wait())


class Job:
    """torchrun's agent in a thread, where it leaves signals to us: it would answer one by ending with a traceback."""

    def __init__(self, options: object) -> None:
        self.options = options
        self.code = 1
        self.stopping = False
        self.told: set[int] = set()
        self.thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            run(self.options)
            self.code = 0
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            ended = f"by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else f"with {failure.exitcode}"
            print(f"rank {rank} ended {ended}, and no restart is left", file=sys.stderr)
            self.code = failure.exitcode if failure.exitcode > 0 else 1

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Every process of this machine is to save and end; those of a restart that is under way too."""
        self.stopping = True

    def wait(self) -> int:
        """Until the job has ended: its exit code."""
        while self.thread.is_alive():
            self.thread.join(FORWARD_SECONDS)
            if self.stopping:
                for process in children() - self.told:
                    self.told.add(process)
                    subprocess.run(["kill", "-TERM", str(process)], stderr=subprocess.DEVNULL)
        return self.code


def children() -> set[int]:
    """Processes that this one has started."""
    listings = (task / "children" for task in Path("/proc/self/task").iterdir())
    return {int(child) for listing in listings for child in listing.read_text().split()}


if __name__ == "__main__":
    main()
