"""Two processes (gloo) against one: merged moments to 1e-10, the whole evaluation to 1e-4."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_tools import run_ranks

OVERRIDES = (
    "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=64", "generator.channel_max=8", "generator.grouping.num_groups=3",
)  # fmt: skip


def run(num_processes: int, output: Path, worker: str, *arguments: Path) -> dict[str, Any]:
    command = [Path(__file__).with_name(worker), output, *arguments, *OVERRIDES]
    for ended in run_ranks(output.with_suffix(".ranks"), *[command] * num_processes):
        assert ended.code == 0, ended.errors
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_two_processes_against_one(tmp_path: Path, png_folder: Path) -> None:
    one, two = (run(count, tmp_path / f"{count}.json", "rank_worker.py", png_folder) for count in (1, 2))
    assert one["moments"]["count"] == two["moments"]["count"] == 101
    for name in ("mean", "scatter"):
        np.testing.assert_allclose(two["moments"][name], one["moments"][name], rtol=1e-10, atol=1e-10)
    assert two["values"] == pytest.approx(one["values"], rel=1e-4)
    assert one["values"]["fd_efficientnet"] > 1
    assert one["hash"] == two["hash"]


def test_metrics_of_classes(tmp_path: Path) -> None:
    one, two = (run(count, tmp_path / f"{count}.json", "class_rank_worker.py") for count in (1, 2))
    assert len(one) == 6 and two == pytest.approx(one, rel=1e-4, abs=1e-6)
    assert one["class_fd_efficientnet"] > 1
