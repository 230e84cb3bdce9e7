"""The drills of scripts/drill.py, few times: kills, damage, a hang, SIGTERM to everything, a lost worker."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from process_tools import DEADLINE, children, is_alive, wait_until

from sarigan.diagnosis.drill import NamespacesRefusedError, drill_corruption, drill_hang, drill_kills, drill_network_cut
from sarigan.diagnosis.drill_job import DrillJob, drill_config
from sarigan.files.checkpoint import list_checkpoints


def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    kills = list(drill_kills(tmp_path, times=3))
    assert len(kills) == 3 and all(kill.well for kill in kills), kills
    assert kills[-1].identical is True


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    done = drill_corruption(tmp_path, times=60)
    assert len(done) == 60 and [what for what, noticed in done if not noticed] == []


def test_a_stopped_rank_is_named(tmp_path: Path) -> None:
    found = list(drill_hang(tmp_path))
    assert [(rank, named, failed) for rank, _, named, failed in found] == [(0, True, True), (1, True, True)]


def test_a_cut_between_two_machines_is_named(tmp_path: Path) -> None:
    try:
        lines = drill_network_cut(tmp_path)
    except NamespacesRefusedError as error:
        pytest.skip(f"no network namespaces here: {error}")
    assert len(lines) == 2 and not [line for line in lines if "NOT NAMED" in line], lines


def started(tmp_path: Path, *overrides: str) -> DrillJob:
    """Two ranks with a data worker each, once they have saved something."""
    config = drill_config(tmp_path, 100_000, "training.checkpoint_kimg=0.08", "data.num_workers=1", *overrides)
    job = DrillJob(config, tmp_path / "run", 2, tmp_path / "log")
    wait_until(lambda: list_checkpoints(tmp_path / "run" / "checkpoints"), "a checkpoint", running=lambda: all_run(job))
    return job


def all_run(job: DrillJob) -> bool:
    return all(process.is_alive() for process in job.ranks)


def test_sigterm_to_everything_saves_and_ends_with_0(tmp_path: Path) -> None:
    """As a scheduler sends it: to every process of every rank, the data workers among them."""
    job = started(tmp_path)
    workers = [child for process in job.ranks for child in children(process.pid or 0)]
    assert len(workers) == 2
    for process in job.ranks:
        job.signal(process, signal.SIGTERM)
    assert job.wait(DEADLINE), job.errors()
    assert job.codes() == [0, 0] and "Traceback" not in job.errors(), job.errors()
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    last = int(list_checkpoints(tmp_path / "run" / "checkpoints")[-1].stem.split("-")[1])
    assert json.loads(lines[-1])["step"] == last  # the last step is saved and logged
    wait_until(lambda: not any(map(is_alive, workers)), "the end of the data workers")


def test_a_stopped_rank_is_named_before_the_launcher_loses_patience(tmp_path: Path) -> None:
    """Launchers kill 30 s after they have asked for an end, far sooner than an hour without an answer is over."""
    job = started(tmp_path, "training.rank_timeout_seconds=3600")
    job.signal(job.ranks[1], signal.SIGSTOP)
    progress = tmp_path / "run" / "checkpoints"
    before, since = list_checkpoints(progress), time.monotonic()
    while time.monotonic() < since + 2:  # until rank 0 waits for it in a collective, where no handler of a signal runs
        time.sleep(0.05)
        if list_checkpoints(progress) != before:
            before, since = list_checkpoints(progress), time.monotonic()
    job.signal(job.ranks[0], signal.SIGTERM)
    job.ranks[0].join(DEADLINE)
    named = "error: rank 1 (process" in job.errors() and "has not answered for 12 s" in job.errors()
    codes = job.codes()
    job.kill()
    job.wait(10)
    assert codes == [1, None] and named, (codes, job.errors())


@pytest.mark.parametrize("asked", [(0, 1), (1,)])
def test_sigterm_in_an_evaluation_ends_it(asked: tuple[int, ...], tmp_path: Path) -> None:
    """Long before its end, which would take hours; also when only one of two is asked."""
    config = drill_config(tmp_path, 100, "metrics.names=[information]", "metrics.num_images=10000000")
    job = DrillJob(config, tmp_path / "run", 2, tmp_path / "log")
    wait_until(lambda: "information:" in job.errors(), "an evaluation", running=lambda: all_run(job))
    for rank in asked:
        job.signal(job.ranks[rank], signal.SIGTERM)
    assert job.wait(DEADLINE), job.errors()
    assert job.codes() == [0, 0] and "Traceback" not in job.errors() and "error:" not in job.errors(), job.errors()


def test_a_lost_data_worker_is_named(tmp_path: Path) -> None:
    job = started(tmp_path)
    (worker,) = children(job.ranks[1].pid or 0)
    os.kill(worker, signal.SIGKILL)
    assert job.wait(DEADLINE), job.errors()
    assert job.codes() == [2, 2], job.errors()
    (line,) = [line for line in job.errors().splitlines() if "error:" in line]
    assert f"rank 1: data worker process {worker} was killed" in line
