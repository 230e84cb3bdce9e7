"""Drills of training: processes killed and stopped, checkpoints damaged, a network cut; nothing lost, nothing unnoticed.

The network is a virtual cable between two ranks, each in a network namespace of its own.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from sarigan.diagnosis.drill_job import DrillJob, drill_config, final_weights
from sarigan.errors import InputError
from sarigan.files.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint

START_SECONDS = 120.0  # far more than a start takes
RANK_TIMEOUT = 5.0
_SCRIPT = """
import sys
from pathlib import Path
from sarigan.diagnosis.drill_job import run_rank
run_rank(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), {}, Path(sys.argv[3]))
"""
STEPS = 60


@dataclass(frozen=True)
class Kill:
    """One kill and its consequences."""

    victim: str  # `rank 1` or `all`
    saving: bool  # whether a checkpoint was just being written
    step: int | None  # of the newest checkpoint afterwards, None: there was none yet
    damaged: int  # finished checkpoints that cannot be read
    lost: bool  # whether there is less than before
    named: bool | None  # whether the others named the killed rank; None: nobody was left to
    identical: bool | None  # to the uninterrupted run, for the kill after which the run came to its end; else None

    @property
    def well(self) -> bool:
        """Whether nothing was lost."""
        return not self.damaged and not self.lost and self.identical is not False and self.named is not False


def drill_kills(folder: Path, times: int, num_ranks: int = 2, seed: int = 0) -> Iterator[Kill]:
    """Kill one rank or all, at a random moment or during a save, and start again; `times` times. Then compare the end."""
    config = drill_config(folder, STEPS, "training.checkpoint_kimg=0.016", f"training.rank_timeout_seconds={RANK_TIMEOUT}")
    draws = random.Random(seed)
    whole = DrillJob(config, folder / "whole", num_ranks, folder / "whole-log")
    if not whole.wait(START_SECONDS * 2) or any(whole.codes()):
        whole.kill()
        raise InputError(f"the uninterrupted run failed: {whole.errors().strip().splitlines()[-1:]}")
    expected = final_weights(folder / "whole")
    run_dir, before, kills = folder / "run", -1, 0
    while kills < times:
        job = DrillJob(config, run_dir, num_ranks, folder / "log")
        saving = _until_moment(job, run_dir / "checkpoints", draws.random() < 0.5, draws)
        if saving is None:  # it came to its end first
            job.wait(START_SECONDS)
            if any(job.codes()):
                raise InputError(f"a start failed: {job.errors().strip().splitlines()[-1:]}")
            if not _same(final_weights(run_dir), expected):
                yield Kill("none", False, STEPS, 0, False, None, False)
            shutil.rmtree(run_dir)
            before = -1
            continue
        kills += 1
        victim = draws.choice([None, *range(num_ranks)])
        job.kill(victim)
        named = None
        if victim is not None:
            if not job.wait(6 * RANK_TIMEOUT + 30):
                job.kill()
            named = re.search(rf"error: rank {victim} ", job.errors()) is not None
        job.wait(30)
        step, damaged = _newest(run_dir / "checkpoints")
        # With the last checkpoint begun, the others have nothing left to wait for.
        if num_ranks == 1 or any((run_dir / "checkpoints").glob(f"checkpoint-{STEPS:08}*")):
            named = None
        last = kills == times
        identical = None
        if last:
            final = DrillJob(config, run_dir, num_ranks, folder / "log")
            final.wait(START_SECONDS)
            identical = _same(final_weights(run_dir), expected)
        yield Kill("all" if victim is None else f"rank {victim}", saving, step, damaged, (step or 0) < before, named, identical)
        before = max(before, step or 0)


def _until_moment(job: DrillJob, checkpoints: Path, saving: bool, draws: random.Random) -> bool | None:
    """Wait for a random moment, or for a checkpoint being written: whether one is. None when the job ends first."""
    known = {path.name for path in list_checkpoints(checkpoints)}
    begun, patience = time.monotonic(), draws.uniform(0, 2.0)
    moment: float | None = None
    while any(process.is_alive() for process in job.ranks):
        if time.monotonic() - begun > START_SECONDS:
            return False
        if moment is None and {path.name for path in list_checkpoints(checkpoints)} - known:
            moment = time.monotonic() + patience
        if moment is not None and saving and any(checkpoints.glob("checkpoint-*.tmp")):
            return True
        if moment is not None and time.monotonic() > moment + (2.0 if saving else 0.0):
            return any(checkpoints.glob("checkpoint-*.tmp"))
        time.sleep(0.0005 if saving else 0.005)
    return None


def _newest(checkpoints: Path) -> tuple[int | None, int]:
    """Step of the newest good checkpoint, and how many are damaged."""
    step, damaged = None, 0
    for path in list_checkpoints(checkpoints):
        try:
            step = int(load_checkpoint(path)["step"])
        except DamagedCheckpointError:
            damaged += 1
    return step, damaged


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(value, expected[name]) for name, value in found.items())


def drill_corruption(folder: Path, times: int, seed: int = 0) -> list[tuple[str, bool]]:
    """Flip bits of a checkpoint or cut it off, `times` times: (what was done, whether it was noticed)."""
    config = drill_config(folder, 2, "training.checkpoint_kimg=1")
    job = DrillJob(config, folder / "run", 1, folder / "log")
    job.wait(START_SECONDS)
    (path,) = list_checkpoints(folder / "run" / "checkpoints")
    content, draws, done = path.read_bytes(), random.Random(seed), []
    for number in range(times):
        damaged = bytearray(content)
        if number % 4 == 3:
            length = draws.randrange(len(content))
            del damaged[length:]
            what = f"cut to {length} of {len(content)} bytes"
        else:
            bits = [draws.randrange(8 * len(content)) for _ in range(draws.choice((1, 1, 1, 8)))]
            for bit in bits:
                damaged[bit // 8] ^= 1 << bit % 8
            what = f"{len(bits)} bit(s) flipped, first at byte {bits[0] // 8}"
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
            noticed = False
        except DamagedCheckpointError:
            noticed = True
        done.append((what, noticed))
    return done


def drill_hang(folder: Path, num_ranks: int = 2) -> Iterator[tuple[int, float, bool, bool]]:
    """SIGSTOP each rank in turn: (rank, seconds until all others ended, whether they named it, whether they failed)."""
    config = drill_config(folder, 100_000, "training.checkpoint_kimg=0.04", f"training.rank_timeout_seconds={RANK_TIMEOUT}")
    for rank in range(num_ranks):
        run_dir = folder / f"hang{rank}"
        job = DrillJob(config, run_dir, num_ranks, folder / f"hang{rank}-log")
        deadline = time.monotonic() + START_SECONDS
        while not list_checkpoints(run_dir / "checkpoints") and time.monotonic() < deadline:
            time.sleep(0.05)
        job.signal(job.ranks[rank], signal.SIGSTOP)
        start = time.monotonic()
        others = [process for process in job.ranks if process is not job.ranks[rank]]
        for process in others:
            process.join(max(0.0, start + 10 * RANK_TIMEOUT - time.monotonic()))
        seconds = time.monotonic() - start
        named = re.search(rf"error: rank {rank} \(.*\) (has not answered|is gone)", job.errors()) is not None
        failed = all(process.exitcode not in (None, 0) for process in others)
        job.kill()
        job.wait(10)
        yield rank, seconds, named, failed


class NamespacesRefusedError(Exception):
    """This machine does not allow the drill; the message says why."""


def drill_network_cut(folder: Path) -> list[str]:
    """Cut the cable while two ranks train. One line a rank: the seconds until it ended, and which rank it named."""
    if shutil.which("ip") is None:
        raise NamespacesRefusedError("the command `ip` (package iproute2) is not installed")
    names = [f"sarigan{os.getpid()}r{rank}" for rank in (0, 1)]
    config = drill_config(folder, 100_000, "training.checkpoint_kimg=0.04", f"training.rank_timeout_seconds={RANK_TIMEOUT}")
    (folder / "config.yaml").write_text(config.to_yaml())
    run_dir = folder / "run"
    with ExitStack() as undo:
        _join(names, undo)
        logs = [folder / f"rank{rank}.txt" for rank in (0, 1)]
        processes = []
        for rank, name in enumerate(names):
            environment = {
                **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "10.77.0.1",
                "MASTER_PORT": "29555", "GLOO_SOCKET_IFNAME": f"cable{rank}", "TP_SOCKET_IFNAME": f"cable{rank}",
                "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            command = ["ip", "netns", "exec", name, sys.executable, "-c", _SCRIPT, folder / "config.yaml", run_dir, logs[rank]]
            processes.append(subprocess.Popen([str(part) for part in command], env=environment))
            undo.callback(processes[-1].kill)
        deadline = time.monotonic() + START_SECONDS
        while not list_checkpoints(run_dir / "checkpoints"):
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                return [f"NOT NAMED: the job did not start: {[log.read_text()[-300:] for log in logs if log.exists()]}"]
            time.sleep(0.05)
        _ip("-n", names[0], "link", "set", "cable0", "down")
        start, lines = time.monotonic(), []
        for rank, process in enumerate(processes):
            try:
                process.wait(max(0.1, start + 10 * RANK_TIMEOUT - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            found = re.search(rf"error: (rank {1 - rank} [^;]*)", logs[rank].read_text(errors="replace"))
            what = found[1] if found else "NOT NAMED"
            lines.append(f"rank {rank} ended {time.monotonic() - start:.1f} s after the cut: {what}")
        return lines


def _join(names: list[str], undo: ExitStack) -> None:
    for rank, name in enumerate(names):
        _ip("netns", "add", name)
        undo.callback(_ip, "netns", "delete", name)
        if rank == 1:
            _ip("-n", names[0], "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", name)
    for rank, name in enumerate(names):
        _ip("-n", name, "address", "add", f"10.77.0.{rank + 1}/24", "dev", f"cable{rank}")
        _ip("-n", name, "link", "set", f"cable{rank}", "up")
        _ip("-n", name, "link", "set", "lo", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NamespacesRefusedError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
