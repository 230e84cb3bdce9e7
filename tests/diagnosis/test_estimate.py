"""Estimates of a dry run: the arithmetic by hand, and that a trial leaves no file."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sarigan.diagnosis import estimate
from sarigan.diagnosis.estimate import estimate_lines, seconds_of_step, time_text
from sarigan.diagnosis.scaling import checkpoint_size


def test_time_of_a_run(tiny_config: Callable[..., Any]) -> None:
    """1000 steps of 8 images, half a second each."""
    text = time_text(tiny_config("training.total_kimg=8"), 0.5)
    assert text.startswith("about 0.5 s a step on one process, 8.3 minutes to training.total_kimg=8 (")
    limited = time_text(tiny_config("training.total_kimg=8", "training.max_minutes=2"), 0.5)
    assert "; training.max_minutes=2 ends it at about 1.92 kimg" in limited


def test_lazy_phases_are_spread_over_their_intervals(tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each phase takes a second for 4 images: the batch of 8 takes two, a phase of the weights alone one."""
    monkeypatch.setattr(estimate, "timed", lambda call, device: 1.0)
    config = tiny_config("data.name=avatars")
    phases = config.build(estimate.resolve_precision(config.training)).phases
    expected = sum((2 if p.draw is not None or p.needs_real_images else 1) / p.interval for p in phases)
    assert seconds_of_step(config, None) == pytest.approx(expected) and len(phases) == 5  # type: ignore[arg-type]


def test_lines(tiny_config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    lines = estimate_lines(config, None, tmp_path / "run")  # type: ignore[arg-type]
    assert [line.split(":")[0] for line in lines] == ["time", "memory", "disk"] and "s a step" in lines[0]
    assert f"3 checkpoints of {checkpoint_size(config) / 2**20:.0f} MiB" in lines[2]
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(estimate, "MAX_CPU_RESOLUTION", 4)
    monkeypatch.setattr(estimate, "count_step", lambda config: SimpleNamespace(memory_bytes=lambda plan: 3 * 2**30))
    time, memory, _ = estimate_lines(config, None, tmp_path)  # type: ignore[arg-type]
    assert "a trial at 8 px takes minutes on a CPU" in time
    assert memory == "memory: 3.0 GiB a process, counted; PyTorch itself comes on top"
