"""The runner of a study: starts jobs, several at one time, each of them once, whoever else works on the same study.

A job holds stages, such as training and evaluation; a stage is a command and a test whether it is done. Nothing is kept but
what the commands write, so a runner may be killed at any moment: the next one finds what is done and goes on with the rest. A
job is claimed by a lock on its folder (`files/lock.py`), which the kernel frees when its runner ends. A command whose runner is
gone ends by itself (`launcher.py`).
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sarigan import launcher
from sarigan.errors import InputError, one_line
from sarigan.files.lock import IN_USE, require_unlocked, run_lock
from sarigan.files.paths import replace_text
from sarigan.files.reading import read_json_object

POLL_SECONDS = 0.5
FAILURE_NAME = "failure.json"


@dataclass(frozen=True)
class Stage:
    """One command of a job. Its output is appended to <folder>/<name>.log."""

    name: str
    command: Sequence[str]
    is_done: Callable[[], bool]


@dataclass(frozen=True)
class Job:
    """Stages one after the other. `begin` is called before the first of every start; its InputError is the job's failure."""

    name: str
    folder: Path
    stages: Sequence[Stage]
    begin: Callable[[], None] = lambda: None
    used: Path | None = None  # a run directory that a process of a killed runner may still hold

    def is_done(self) -> bool:
        """Whether no stage is left."""
        return all(stage.is_done() for stage in self.stages)

    def failure(self) -> dict[str, object]:
        """Where and why its last start failed, and when; empty when it did not."""
        return read_json_object(self.folder / FAILURE_NAME)


@dataclass
class _Active:
    """A job under way in a slot."""

    job: Job
    slot: int
    claim: ExitStack
    stage: Stage
    process: subprocess.Popen


@dataclass
class Runner:
    """Works until every job is done or has failed. slots: the environment of each command that runs at one time."""

    jobs: Sequence[Job]
    slots: Sequence[Mapping[str, str]]
    free_bytes: float = 0  # that the disk must have before a job starts
    tell: Callable[[str], None] = print
    stop_requested: bool = False
    _active: list[_Active] = field(default_factory=list)
    _since: float = field(default_factory=time.time)

    def run(self) -> list[Job]:
        """Returns the jobs that failed. InputError when the disk is full; jobs under way then end first."""
        full: InputError | None = None
        try:
            while True:
                for active in list(self._active):
                    self._follow(active)
                if self.stop_requested or full is not None:
                    if not self._active:
                        break
                else:
                    full = self._fill()
                    if not self._active and not any(self._is_open(job) for job in self.jobs):
                        break
                time.sleep(POLL_SECONDS)
        finally:
            for active in self._active:
                active.process.kill()
                active.process.wait()
                active.claim.close()
        if full is not None:
            raise full
        return [job for job in self.jobs if self._has_failed(job)]

    def request_stop(self) -> None:
        """Let every command save and end; the second call kills them."""
        for active in self._active:
            with suppress(ProcessLookupError):
                active.process.send_signal(signal.SIGKILL if self.stop_requested else signal.SIGTERM)
        self.stop_requested = True

    def _is_open(self, job: Job) -> bool:
        return not job.is_done() and not self._has_failed(job)

    def _has_failed(self, job: Job) -> bool:
        """Since this runner began, in its own hands or in another's."""
        when = job.failure().get("time")
        return isinstance(when, int | float) and when >= self._since and not job.is_done()

    def _fill(self) -> InputError | None:
        """Start jobs in free slots; returns the line that says why none can be started any more."""
        mine = [active.job.name for active in self._active]
        for job in self.jobs:
            free = [slot for slot in range(len(self.slots)) if slot not in [active.slot for active in self._active]]
            if not free:
                break
            if job.name in mine or not self._is_open(job):
                continue
            try:
                left = shutil.disk_usage(_existing(job.folder)).free
                if left < self.free_bytes:
                    return InputError(
                        f"{job.folder.parent}: {left / 1e9:.2f} GB are free, free_gb asks for {self.free_bytes / 1e9:.2f}"
                        f" before {job.name} starts; make room and call again: what is finished stays"
                    )
                self._claim(job, free[0])
            except OSError as error:
                return InputError(f"{job.folder}: cannot write there ({error.strerror}); name another place with --folder")
        return None

    def _claim(self, job: Job, slot: int) -> None:
        """Lock the job's folder and start what is left of it, unless another runner has it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(run_lock(job.folder))
                if job.used is not None:
                    require_unlocked(job.used)
            except InputError:  # somebody works on it
                return
            if not self._is_open(job):  # it was done while this runner looked elsewhere
                return
            try:
                (job.folder / FAILURE_NAME).unlink(missing_ok=True)
                job.begin()
            except InputError as error:
                self._fail(job, "before training", str(error))
                return
            self._start(job, slot, stack.pop_all())

    def _start(self, job: Job, slot: int, claim: ExitStack) -> None:
        """The next stage that is not done."""
        stage = next(stage for stage in job.stages if not stage.is_done())
        environment = {**os.environ, **self.slots[slot], launcher.VARIABLE: str(os.getpid())}
        with open(job.folder / f"{stage.name}.log", "ab") as log:
            process = subprocess.Popen(
                stage.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                # Ctrl-C is for the runner, which passes it on. The session stays the runner's, and with it the priority.
                preexec_fn=os.setpgrp,
            )  # fmt: skip
        self.tell(f"{time.strftime('%T')}  {job.name}: {stage.name}")
        self._active.append(_Active(job, slot, claim, stage, process))

    def _follow(self, active: _Active) -> None:
        """After the end of a command: the next stage, or the end of the job."""
        job, stage = active.job, active.stage
        code = active.process.poll()
        if code is None:
            return
        self._active.remove(active)
        if stage.is_done() and not job.is_done() and not self.stop_requested:
            self._start(job, active.slot, active.claim)
            return
        if job.is_done():
            self.tell(f"{time.strftime('%T')}  {job.name}: done")
        elif not self.stop_requested:
            reason = _last_line(job.folder / f"{stage.name}.log")
            if IN_USE not in reason:  # else a process of a killed runner is about to end, and the job waits for that
                ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
                self._fail(job, stage.name, f"ended {ended}: {reason}")
        active.claim.close()

    def _fail(self, job: Job, stage: str, reason: str) -> None:
        line = one_line(f"{stage} {reason}" if reason.startswith("ended") else f"{stage}: {reason}")
        replace_text(job.folder / FAILURE_NAME, json.dumps({"time": time.time(), "line": line}) + "\n")
        self.tell(f"{time.strftime('%T')}  {job.name}: failed: {line}")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _last_line(path: Path) -> str:
    """The last line of a log that says something; progress bars write theirs over each other."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"
