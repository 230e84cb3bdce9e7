"""The runner of a study: killed, doubled, asked to stop, with a job that fails, on a full disk."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import study_jobs
from process_tools import DEADLINE, ROOT, running, wait_until

from sarigan.errors import InputError
from sarigan.studies import runner as runner_module
from sarigan.studies.runner import Runner

NUM_KILLS = int(os.environ.get("SARIGAN_TEST_KILLS", "3"))
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def command(folder: Path, jobs: int, steps: int, slots: int) -> list[object]:
    return [sys.executable, study_jobs.__file__, "run", folder, jobs, steps, slots]


def finish(folder: Path, jobs: int, steps: int, slots: int = 2) -> None:
    done = subprocess.run([str(part) for part in command(folder, jobs, steps, slots)], env=ENVIRONMENT, timeout=DEADLINE)
    assert done.returncode == 0


def assert_each_once(folder: Path, jobs: int) -> None:
    for index in range(jobs):
        place = folder / f"job{index}"
        assert (place / "ends").read_text() == "end\n" and (place / "result").read_text() == f"job{index}"


def positions(folder: Path) -> Callable[[], list[str]]:
    return lambda: [path.read_text() for path in sorted(folder.glob("*/position"))]


def test_killed_at_random_moments_every_job_is_done_once(tmp_path: Path) -> None:
    moments, steps = random.Random(20), 30 * NUM_KILLS
    for _ in range(NUM_KILLS):
        before = positions(tmp_path)()
        with running(command(tmp_path, 3, steps, 2), env=ENVIRONMENT) as process:
            # A fast machine may be done before the last kill.
            wait_until(lambda before=before, process=process: positions(tmp_path)() != before or process.poll() == 0, "a step")
            time.sleep(moments.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
    finish(tmp_path, 3, steps)
    assert_each_once(tmp_path, 3)
    assert positions(tmp_path)() == [str(steps)] * 3


def test_two_runners_do_no_job_twice(tmp_path: Path) -> None:
    with (
        running(command(tmp_path, 5, 5, 2), env=ENVIRONMENT) as first,
        running(command(tmp_path, 5, 5, 2), env=ENVIRONMENT) as second,
    ):
        assert [first.wait(DEADLINE), second.wait(DEADLINE)] == [0, 0]
    assert_each_once(tmp_path, 5)
    assert {path.read_text() for path in tmp_path.glob("*/starts")} == {"start\n"}


def test_a_runner_that_is_asked_to_stop_lets_its_jobs_save(tmp_path: Path) -> None:
    with running(command(tmp_path, 2, 10**6, 1), env=ENVIRONMENT) as process:
        wait_until(positions(tmp_path), "a step", lambda: process.poll() is None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    (saved,) = positions(tmp_path)()
    finish(tmp_path, 2, int(saved) + 1)
    assert_each_once(tmp_path, 2)


def test_a_job_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    jobs = study_jobs.jobs(tmp_path, 3, 2)
    (tmp_path / "job0").mkdir()
    (tmp_path / "job0" / "broken").touch()
    lines: list[str] = []
    failed = Runner(jobs, [{}], tell=lines.append).run()
    assert [job.name for job in failed] == ["job0"]
    (line,) = [line for line in lines if "failed" in line]
    assert "job0: failed: counting ended with 2: error: " in line and "broken: is there; a job without it is right" in line
    assert [job.is_done() for job in jobs] == [False, True, True]
    (tmp_path / "job0" / "broken").unlink()
    assert Runner(jobs, [{}], tell=lines.append).run() == []  # the same command tries again
    assert_each_once(tmp_path, 3)


def test_what_is_wrong_before_the_first_command_is_a_failure_too(tmp_path: Path) -> None:
    def begin() -> None:
        raise InputError("data: missing")

    job = study_jobs.job(tmp_path / "job0", 1)
    job = runner_module.Job(job.name, job.folder, job.stages, begin)
    assert Runner([job], [{}], tell=lambda line: None).run() == [job]
    assert job.failure()["line"] == "before training: data: missing" and not (job.folder / "ends").exists()


def test_a_full_disk_ends_the_study_in_one_line_and_keeps_what_is_done(tmp_path: Path) -> None:
    jobs = study_jobs.jobs(tmp_path, 2, 1)
    assert Runner(jobs[:1], [{}], tell=lambda line: None).run() == []
    with pytest.raises(InputError, match=r"GB are free, free_gb asks for .* before job1 starts; make room"):
        Runner(jobs, [{}], free_bytes=1e18, tell=lambda line: None).run()
    assert jobs[0].is_done() and not (tmp_path / "job1").exists()


def test_a_command_that_claims_success_without_its_result_has_failed(tmp_path: Path) -> None:
    stage = runner_module.Stage("training", [sys.executable, "-c", "print('stopped at 1 kimg')"], lambda: False)
    job = runner_module.Job("job", tmp_path / "job", [stage])
    assert Runner([job], [{}], tell=lambda line: None).run() == [job]
    assert job.failure()["line"] == "training ended with 0: stopped at 1 kimg"


def test_a_run_directory_that_a_dying_command_still_holds_is_waited_for(tmp_path: Path) -> None:
    """The command of a killed runner saves while the next runner's command starts, which is refused."""
    refused = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'result')!r}); first = not p.with_name('first').exists();"
    refused += "p.with_name('first').touch(); sys.exit('run: in use by another job (process 1)') if first else p.touch()"
    stage = runner_module.Stage("training", [sys.executable, "-c", refused], (tmp_path / "result").exists)
    job = runner_module.Job("job", tmp_path / "job", [stage])
    assert Runner([job], [{}], tell=lambda line: None).run() == [] and job.is_done()


def test_a_job_is_left_alone_while_another_process_holds_its_run_directory(tmp_path: Path) -> None:
    job = study_jobs.job(tmp_path / "job0", 1)
    hold = "import sys, time; from pathlib import Path; from sarigan.files.lock import run_lock\n"
    hold += "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with running([sys.executable, "-c", hold, job.used], env=ENVIRONMENT, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        runner = Runner([job], [{}], tell=lambda line: holder.stdin.close())
        runner._fill()
        assert runner._active == []
        holder.stdin.close()
        holder.wait(DEADLINE)
        assert runner.run() == [] and job.is_done()
