"""A network cut between two ranks, each in a network namespace of its own, joined by one virtual cable."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from sarigan.diagnosis.drill_job import drill_config
from sarigan.files.checkpoint import list_checkpoints

START_SECONDS = 120.0
RANK_TIMEOUT = 5.0
_SCRIPT = """
import sys
from pathlib import Path
from sarigan.diagnosis.drill_job import run_rank
run_rank(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), {}, Path(sys.argv[3]))
"""


class NamespacesRefusedError(Exception):
    """Why this machine does not allow the drill."""


def drill_network_cut(folder: Path) -> list[str]:
    """Take the cable away while two ranks train: a line a side with the seconds until it ended and whom it named."""
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
