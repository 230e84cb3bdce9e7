"""Semantic metrics of two processes (gloo) against one."""

import json
from pathlib import Path
from typing import Any

import pytest
from process_tools import run_ranks

OVERRIDES = (
    "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=32", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "discriminator.channel_base=32", "discriminator.channel_max=8",
)  # fmt: skip


def run(num_processes: int, output: Path) -> dict[str, Any]:
    command = [Path(__file__).with_name("semantic_rank_worker.py"), output, *OVERRIDES]
    for ended in run_ranks(output.with_suffix(".ranks"), *[command] * num_processes):
        assert ended.code == 0, ended.errors
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
