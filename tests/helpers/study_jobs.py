"""Jobs for runners of studies that need no PyTorch: counting to a number, with a file a step, as a training saves.

`python study_jobs.py count FOLDER STEPS` is such a job, `python study_jobs.py run FOLDER JOBS STEPS SLOTS` a runner.
"""

import os
import signal
import sys
import time
from pathlib import Path

from sarigan import launcher
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.lock import run_lock
from sarigan.files.paths import replace_text
from sarigan.studies.runner import Job, Runner, Stage

STEP_SECONDS = 0.05


def count(folder: Path, steps: int) -> None:
    """Go on counting; <folder>/starts has a line for each start, <folder>/ends one for each end."""
    with open(folder / "starts", "a") as file:
        file.write("start\n")
    launcher.watch_launcher()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with exit_on_input_error(), run_lock(folder / "run"):
        if (folder / "broken").exists():
            raise InputError(f"{folder / 'broken'}: is there; a job without it is right")
        path = folder / "position"
        position = int(path.read_text()) if path.exists() else 0
        while position < steps:
            time.sleep(STEP_SECONDS)
            position += 1
            replace_text(path, str(position))
        with open(folder / "ends", "a") as file:
            file.write("end\n")


def jobs(root: Path, number: int, steps: int) -> list[Job]:
    """Jobs that count to `steps` and then write their name."""
    return [job(root / f"job{index}", steps) for index in range(number)]


def job(folder: Path, steps: int) -> Job:
    """One of them."""

    def is_counted() -> bool:
        return (folder / "ends").exists()

    second = "import pathlib, sys; pathlib.Path(sys.argv[1], 'result').write_text(pathlib.Path(sys.argv[1]).name)"
    stages = (
        Stage("counting", [sys.executable, __file__, "count", str(folder), str(steps)], is_counted),
        Stage("writing", [sys.executable, "-c", second, str(folder)], lambda: (folder / "result").exists()),
    )
    return Job(folder.name, folder, stages, used=folder / "run")


def main() -> None:
    """See the module."""
    folder, numbers = Path(sys.argv[2]), [int(text) for text in sys.argv[3:]]
    if sys.argv[1] == "count":
        count(folder, *numbers)
        return
    runner = Runner(jobs(folder, numbers[0], numbers[1]), [{}] * numbers[2])
    signal.signal(signal.SIGTERM, lambda number, frame: runner.request_stop())
    failed = runner.run()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
