"""What ends or turns back a run: too little memory, losses that stay non-finite, ranks that fall silent or behind."""

import fcntl
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_tools import DEADLINE, running

from sarigan.data.batch import Batch
from sarigan.data.loader import DataConfig, dead_worker_error, training_batches
from sarigan.diagnosis.doctor import architecture_finding, examine
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints
from sarigan.runs import watchdog
from sarigan.runs.failure import explained_out_of_memory
from sarigan.runs.run import StopRequest, stop_on_signal, train
from sarigan.runs.watchdog import RankStatus, Watchdog, furthest_behind
from sarigan.training.hooks import ProgressHook
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.trainer import Hook, Trainer

Build = Callable[..., Any]


@pytest.mark.parametrize(("limit", "line"), [(3, "2 fit: training.max_images_per_pass=2 accumulates the same batch over 4"),
                                             (0, "not even one image fits")])  # fmt: skip
def test_out_of_memory_names_what_fits(limit: int, line: str, tiny_config: Build, tiny_trainer: Build) -> None:
    """Memory for three images: of the divisors of 8, 2 is the largest that all phases run with."""
    trainer = tiny_trainer(tiny_config())
    for phase in trainer.phases:

        def limited(shard: Any, loss: Any = phase.loss) -> Any:
            images = shard.batch if shard.batch is not None else shard.draws if shard.draws else []
            if len(images) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB")
            return loss(shard)

        phase.loss = limited
    line_of_all = "out of memory on cpu with 8 images in a pass"
    with pytest.raises(InputError, match=line_of_all) as caught, explained_out_of_memory(trainer):
        trainer.run()
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_out_of_memory_beside_the_steps_names_the_setting(tiny_config: Build, tiny_trainer: Build) -> None:
    class Greedy(Hook):
        memory_setting = "metrics.batch_size"

        def after_step(self, trainer: Trainer) -> None:
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")

    with pytest.raises(InputError, match="out of memory on cpu in Greedy, after step 1; lower metrics.batch_size$"):
        trainer = tiny_trainer(tiny_config(), [Greedy()])
        with explained_out_of_memory(trainer):
            trainer.run()


@pytest.mark.parametrize("recovers", [True, False])
def test_roll_back_goes_on_with_other_latents_three_times(
    recovers: bool, tiny_config: Build, png_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constructed = Trainer.__init__
    seen: set[tuple[int, float]] = set()

    def patched(self: Trainer, *arguments: Any) -> None:
        constructed(self, *arguments)
        target = next(phase for phase in self.phases if phase.name == "generator")
        loss = target.loss

        def spoiled(shard: Any) -> Any:
            value, scalars = loss(shard)
            seen.add((self.state.step, float(shard.draws.z.sum())))
            bad = self.state.step >= 3 and (not recovers or self.state.num_rollbacks == 0)
            return (value * float("inf") if bad else value), scalars

        target.loss = spoiled

    monkeypatch.setattr(Trainer, "__init__", patched)
    config = tiny_config(
        "data.name=folder", f"data.path={png_folder}", "training.total_kimg=0.064", "training.checkpoint_kimg=0.016",
        "training.tick_kimg=0.016", "training.max_nonfinite_steps=2", "training.on_nonfinite=roll_back",
    )  # fmt: skip
    if not recovers:
        with pytest.raises(InputError, match=r"phase generator became non-finite in step [34], and"):
            train(config, tmp_path)
        return
    trainer = train(config, tmp_path)
    assert trainer.state.step == 8 and trainer.state.num_rollbacks == 1
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]  # each once, though the steps from 3 on were made twice
    assert len([draw for step, draw in seen if step == 4]) == 2  # the second attempt at step 4 drew other latents
    assert int(list_checkpoints(tmp_path / "checkpoints")[-1].stem.split("-")[1]) == 8


def test_the_rank_that_all_others_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    ranks = [RankStatus(rank) for rank in range(3)]
    positions = [7, 5, 7]
    for rank, position in zip(ranks, positions, strict=True):
        rank.update(1, position, f"in step {position}, phase r1", 100 + rank.rank, "host")
    now[0] = 20.0
    for rank, position in zip(ranks, positions, strict=True):
        rank.update(9, position, rank.where, 100 + rank.rank, "host")
    assert ranks[1].silent_seconds() == 0 and ranks[1].still_seconds() == 20
    assert furthest_behind(ranks, 30, ()) == []
    assert furthest_behind(ranks, 10, ()) == [ranks[1]]
    assert furthest_behind([*ranks, ranks[1]], 10, ()) == [ranks[1]] * 2  # all of one machine, say
    assert furthest_behind(ranks, 10, ("in step 5, phase r1",)) == []  # may take its time there
    assert ranks[1].describe("waits") == "rank 1 (process 101 on host, last seen in step 5, phase r1) waits"
    ranks[0].update(10, 8, "hooks", 100, "host")
    assert furthest_behind(ranks, 10, ()) == []  # somebody moves
    now[0] = 40.0
    ranks[1].update(11, 8, "hooks", 101, "host")
    ranks[2].update(11, 8, "hooks", 102, "host")
    now[0] = 60.0
    assert furthest_behind(ranks, 10, ()) == []  # nobody is behind


LEAVE = """
import threading, time
from sarigan.runs.watchdog import Watchdog
threading.Thread(target=Watchdog(300.0)._leave, args=("rank 1 is gone", 1, True)).start()
time.sleep(3600)
"""


@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_a_watchdog_ends_its_process_though_nobody_reads_stderr(reader: str) -> None:
    """The pipe is closed at its other end, or full."""
    read, write = os.pipe()
    if reader == "gone":
        os.close(read)
    else:
        os.set_blocking(write, False)
        os.write(write, bytes(fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)))
        os.set_blocking(write, True)
    with running([sys.executable, "-c", LEAVE], stderr=write) as process:
        os.close(write)
        assert process.wait(DEADLINE) == 1
    if reader == "asleep":
        os.close(read)


class Store:
    """One that stands still or is gone."""

    def __init__(self, gone: bool) -> None:
        self.gone = gone

    def set(self, key: str, value: str) -> None:
        assert self.gone
        raise RuntimeError("Broken pipe")

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        threading.Event().wait()
        return b""


def test_a_post_does_not_wait_for_a_store_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STORE_SECONDS", 0.1)
    watching = Watchdog(300.0)
    watching.size, watching._store = 2, Store(gone=False)
    watching.post("a line")


def test_the_heartbeat_of_a_closed_watchdog_ends_though_the_store_is_gone() -> None:
    watching = Watchdog(300.0)
    watching._store = Store(gone=True)
    watching._end.set()
    beating = threading.Thread(target=watching._pulse, daemon=True)
    beating.start()
    beating.join(DEADLINE)
    assert not beating.is_alive()


SWALLOWED = """
import os, signal, time
from sarigan.runs import early_exit
early_exit.INSIST_SECONDS = 0.1
try:  # as around an optional import
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3600)
except BaseException:
    pass
time.sleep(3600)
"""


def test_a_request_to_stop_in_an_import_is_not_lost() -> None:
    assert subprocess.run([sys.executable, "-c", SWALLOWED], timeout=DEADLINE).returncode == 0


class Unread(io.StringIO):
    """A stderr whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_progress_bar_that_nobody_reads_ends_no_training(
    tiny_config: Build, tiny_trainer: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Unread())
    trainer = tiny_trainer(tiny_config("training.total_kimg=0.016"), [ProgressHook()])
    trainer.run()
    assert trainer.state.step == 2


def test_the_bar_counts_the_time_of_training_alone(tiny_config: Build, tiny_trainer: Build) -> None:
    """Its rate and the time left were those of the evaluation before the first step."""

    class Evaluated(Hook):
        def before_training(self, trainer: Trainer) -> None:
            progress.bar.start_t -= 10_000
            progress.bar.last_print_t -= 10_000

    progress = ProgressHook()
    tiny_trainer(tiny_config("training.total_kimg=0.016"), [progress, Evaluated()]).run()
    assert progress.bar.format_dict["elapsed"] < 10_000


def test_a_request_to_stop_counts_though_nobody_reads_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(descriptor: int, content: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    request = StopRequest()
    with monkeypatch.context() as patch, stop_on_signal(request):
        patch.setattr(os, "write", write)
        signal.raise_signal(signal.SIGTERM)
    assert request.stop_requested


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("DataLoader worker (pid 4711) is killed by signal: Killed. ", "data worker process 4711 was killed by signal Killed"),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "data worker process 12, 13 ended unexpectedly"),
    ],
)
def test_messages_about_dead_workers(message: str, part: str) -> None:
    error = dead_worker_error(RuntimeError(message))
    assert error is not None and str(error).startswith(part)
    assert dead_worker_error(RuntimeError("something else")) is None


def test_a_broken_connection_to_a_dead_worker_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed while it hands over memory breaks a connection instead of being noticed by the loader."""
    started: list[Any] = []
    images = type("Images", (list,), {"resolution": 8})([np.zeros((3, 8, 8), np.uint8)] * 8)

    class BrokenLoader:
        def __init__(self, *args: object, **settings: object) -> None: ...

        def __iter__(self) -> Iterator[Batch]:
            if started:
                return self
            worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
            worker.start()
            started.append(worker)
            return self

        def __next__(self) -> Batch:
            os.kill(started[0].pid, signal.SIGKILL)
            raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("sarigan.data.loader.DataLoader", BrokenLoader)
    with pytest.raises(InputError) as found:
        next(training_batches(images, DataConfig(), 0, 0, 4))
    assert str(found.value).startswith(f"data worker process {started[0].pid} was killed by signal Killed")


NEW_WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "arches", "verdict"),
    [
        ((7, 0), NEW_WHEEL, "bad"),  # V100
        ((7, 0), ["sm_50", "sm_60", "sm_70", "sm_75"], "ok"),
        ((8, 9), NEW_WHEEL, "ok"),  # runs sm_86 code
        ((8, 0), ["sm_86"], "bad"),  # lower minor
        ((9, 0), ["sm_80"], "bad"),
        ((9, 0), ["sm_80", "compute_80"], "ok"),  # PTX
        ((12, 0), NEW_WHEEL, "ok"),
    ],
)
def test_architectures(capability: tuple[int, int], arches: list[str], verdict: str) -> None:
    finding = architecture_finding("cuda:0", capability, arches)
    assert finding.verdict == verdict
    if capability == (7, 0) and verdict == "bad":
        assert "whl/cu126" in finding.text


def test_the_doctor_looks_at_everything(tiny_config: Build, png_folder: Path, tmp_path: Path) -> None:
    images = ("data.name=folder", f"data.path={png_folder}")
    good = list(examine(tiny_config(*images, "metrics.names=[groups]"), tmp_path / "run"))
    assert {finding.subject for finding in good} == {
        "software", "devices", "operators", "compiler", "disk", "memory", "batch", "data", "run", "dry run", "metrics",
    }  # fmt: skip
    assert not [finding for finding in good if finding.verdict == "bad"], good
    bad = list(examine(tiny_config("data.name=folder", "data.path=nowhere"), tmp_path / "run"))
    assert [finding.subject for finding in bad if finding.verdict == "bad"] == ["data"]
    (tmp_path / "file").write_text("in the way")
    wrong = tiny_config(*images, "metrics.names=[fid]", "training.images_per_rank=3")
    bad = list(examine(wrong, tmp_path / "file" / "run"))
    assert [finding.subject for finding in bad if finding.verdict == "bad"] == ["disk", "batch", "metrics"], bad


def test_want_of_memory_after_a_roll_back_is_the_steps(tiny_config: Build, tiny_trainer: Build) -> None:
    """The hook that asked for the roll-back has ended: what a later step lacks is not its fault."""

    class Once(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.num_rollbacks == 0:
                trainer.state.num_rollbacks = 1
                raise NonfiniteError("spoilt")
            raise AssertionError("the next step has no memory")

    trainer = tiny_trainer(tiny_config(), [Once()])
    trainer.supervisor.roll_back = lambda trainer, error: True
    loss = trainer.phases[0].loss

    def limited(shard: Any) -> Any:
        if trainer.state.num_rollbacks and len(shard.batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(shard)

    trainer.phases[0].loss = limited
    with pytest.raises(InputError, match="with 8 images in a pass; 2 fit"), explained_out_of_memory(trainer):
        trainer.run()
