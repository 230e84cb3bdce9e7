"""Semantic metrics of two processes (gloo) against one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OVERRIDES = (
    "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=32", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "discriminator.channel_base=32", "discriminator.channel_max=8",
)  # fmt: skip


def run(num_processes: int, output: Path) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num_processes)}
    command = [sys.executable, str(Path(__file__).with_name("semantic_rank_worker.py")), str(output), *OVERRIDES]
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


def numbers(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, item in items for name, leaf in numbers(item, f"{path}/{key}").items()}
    return {path: value}


def test_two_processes_against_one(tmp_path: Path) -> None:
    one, two = (numbers(run(count, tmp_path / f"{count}.json")) for count in (1, 2))
    assert one.keys() == two.keys() and len(one) > 50
    for name, value in one.items():
        assert two[name] == (pytest.approx(value, rel=1e-9, nan_ok=True) if isinstance(value, float) else value), name
