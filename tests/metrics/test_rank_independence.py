"""Two processes (gloo) against one: merged moments to 1e-10, the whole evaluation to 1e-4."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OVERRIDES = (
    "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=64", "generator.channel_max=8", "generator.grouping.num_groups=3",
)  # fmt: skip


def run(num_processes: int, output: Path, folder: Path) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num_processes)}
    command = [sys.executable, str(Path(__file__).with_name("rank_worker.py")), str(output), str(folder), *OVERRIDES]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **launcher, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(num_processes)
    ]
    errors = [process.communicate(timeout=300)[1].decode() for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_two_processes_against_one(tmp_path: Path, png_folder: Path) -> None:
    one, two = (run(count, tmp_path / f"{count}.json", png_folder) for count in (1, 2))
    assert one["moments"]["count"] == two["moments"]["count"] == 101
    for name in ("mean", "scatter"):
        np.testing.assert_allclose(two["moments"][name], one["moments"][name], rtol=1e-10, atol=1e-10)
    assert two["values"] == pytest.approx(one["values"], rel=1e-4)
    assert one["values"]["fd_efficientnet"] > 1
    assert one["hash"] == two["hash"]
