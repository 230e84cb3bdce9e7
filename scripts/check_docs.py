"""Run the commands of README.md and docs/: python scripts/check_docs.py [PAGE ...] [--quickstart RUN] [--list]

A command in a `bash` fence is runnable when the comment behind it begins with a time on two cores: `# 2 min: one page`, or
`# 20 s`. After `about`, or in hours and days, a time tells a reader what to expect, and the command is not run. Those of a page
run in a folder of their own that has this checkout's files, copies of the run that --quickstart names, as runs/quickstart, RUN,
..., and copies of what --place names. What needs a run or a picture that is not there is left out, and named. A command fails
on an exit code other than 0, and beyond twice its time (times --time-scale, for other machines).
"""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("configs", "docs", "ops", "sarigan", "scripts", "studies", "pyproject.toml", "README.md")
TIME = re.compile(r"\s#\s*(\d+(?:\.\d+)?) (s|min)\b")
TOLD = re.compile(r"\s#\s*(?:about )?\d+(?:\.\d+)? (?:s|min|h|days)\b")
AS_QUICKSTART = ("runs/quickstart", "runs/mine", "RUN", "MODEL")
NEEDED = re.compile(r"(?<!-dir )(?<!-output )\b(?:runs/\w+|(?:RUN|MODEL|PHOTOS|MASKS|facades256)\b|\w+\.(?:zip|png)\b)")
SECONDS = {"s": 1.0, "min": 60.0}


@dataclass(frozen=True)
class Command:
    """A line of a fence, continued lines joined."""

    page: str
    line: int  # of its beginning, from 1
    text: str
    seconds: float | None  # that the page states; None: not to be run

    @property
    def tells_time(self) -> bool:
        """Whether a reader is told how long it takes."""
        return TOLD.search(self.text) is not None


def commands_of(page: str, text: str) -> Iterator[Command]:
    """Every command in the bash fences of a page."""
    inside, waiting, start = False, "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            inside, waiting = line.strip() == "```bash" and not inside, ""
            continue
        if not inside or (not waiting and (not line.strip() or line.lstrip().startswith("#"))):
            continue
        start = start if waiting else number
        waiting += line.strip()
        if waiting.endswith("\\"):
            waiting = waiting[:-1].rstrip() + " "
            continue
        if waiting.startswith("for ") and not re.search(r"\bdone\b", waiting):
            waiting += " " if waiting.endswith((" do", "&")) else "; "
            continue
        stated = TIME.search(waiting)
        seconds = float(stated[1]) * SECONDS[stated[2]] if stated else None
        yield Command(page, start, waiting, seconds)
        waiting = ""


def run_command(command: Command, folder: Path, time_scale: float) -> str | None:
    """Run in the folder; what is wrong, or None."""
    assert command.seconds is not None
    limit = 2 * command.seconds * time_scale
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    running = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", command.text], cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = running.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"took more than {limit:.0f} s, twice what the page states"
    finally:
        with suppress(ProcessLookupError):  # what the shell has started would go on without it
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    taken = f"{time.monotonic() - start:.0f} s of {command.seconds:g} ({busy:.0f} s of processor time)"
    if running.returncode:
        last = (errors.strip().splitlines() or ["no output"])[-1]
        return f"exit code {running.returncode} after {taken}: {last}"
    print(f"ok    {command.page}:{command.line}: {taken}", flush=True)
    return None


def furnish(folder: Path, places: Sequence[tuple[str, ...]]) -> None:
    """The files of the checkout, and copies of what stands for a place, since commands write into runs."""
    for linked in LINKED:
        (folder / linked).symlink_to(ROOT / linked)
    for place, source in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if Path(source).is_dir() else shutil.copy)(source, folder / place)


def check(command: Command, folder: Path, time_scale: float) -> bool:
    """Run a command whose files are there; whether it failed."""
    absent = [needed for needed in NEEDED.findall(command.text.split("  #")[0]) if not (folder / needed).exists()]
    if absent:
        print(f"left  {command.page}:{command.line}: no {', '.join(absent)} (--place)", flush=True)
    elif problem := run_command(command, folder, time_scale):
        print(f"FAIL  {command.page}:{command.line}: {command.text}\n      {problem}", flush=True)
        return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """The number of commands that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    parser.add_argument("--quickstart", type=Path, metavar="RUN", help="what stands for " + ", ".join(AS_QUICKSTART))
    parser.add_argument("--place", action="append", default=[], metavar="NAME=PATH", help="what stands for NAME; repeatable")
    parser.add_argument("--measure", type=float, metavar="SECONDS", help="run also those without a time, for at most so long")
    parser.add_argument("--list", action="store_true", help="only list all commands, with their times")
    parser.add_argument("--match", default="", help="only commands that hold this text")
    parser.add_argument("--time-scale", type=float, default=1.0, help="of a slower machine: above 1")
    options = parser.parse_args(arguments)
    pages = options.pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [command for page in pages for command in commands_of(page.name, page.read_text()) if options.match in command.text]
    if options.list:
        for command in found:
            stated = "-" if command.seconds is None else f"{command.seconds:g} s"
            print(f"{command.page}:{command.line}: {stated}  {command.text}")
        return 0
    places = [tuple(place.split("=", 1)) for place in options.place]
    if options.quickstart:
        places += [(name, options.quickstart) for name in AS_QUICKSTART]
    if options.measure is not None:
        found = [replace(command, seconds=options.measure / 2) if command.seconds is None else command for command in found]
    failures = 0
    for _, commands in groupby(found, lambda command: command.page):  # what one page makes is not there for another
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            furnish(folder, places)
            failures += sum(check(command, folder, options.time_scale) for command in commands if command.seconds is not None)
    print(f"{failures} failed")
    return failures


if __name__ == "__main__":
    raise SystemExit(1 if main() else 0)
