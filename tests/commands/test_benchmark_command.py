"""`scripts/benchmark.py` on tiny networks: the records agree with themselves and with counted work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sarigan.config import load_config
from sarigan.diagnosis.scaling import checkpoint_size

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "generator.resolution=32", "generator.channel_max=16", "generator.style_dim=16", "generator.z_dim=16",
    "generator.grouping.num_groups=4", "training.device=cpu", "training.precision=float32", "training.batch_size=2",
]  # fmt: skip


def benchmark(tmp_path: Path, *arguments: str) -> list[dict]:
    report = tmp_path / "report.json"
    command = [sys.executable, ROOT / "scripts/benchmark.py", *arguments, "--config", ROOT / "configs/quickstart.yaml"]
    completed = subprocess.run([*command, "--json", report, *TINY], capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return json.loads(report.read_text())["records"]


def test_inference(tmp_path) -> None:
    one, three = benchmark(tmp_path, "inference", "--batch", "1", "3", "--repeats", "1")
    assert (one["batch"], three["batch"]) == (1, 3)
    assert three["gflop"] == pytest.approx(3 * one["gflop"], rel=0.2, abs=0.02)
    for record in (one, three):
        assert record["images_per_second"] == pytest.approx(1000 * record["batch"] / record["milliseconds"], rel=0.02)


def test_step(tmp_path) -> None:
    (record,) = benchmark(tmp_path, "step", "--repeats", "1", "--regularizers")
    assert record["ratio"] == 1.0 and record["images_per_second"] == pytest.approx(2 / record["seconds"], rel=0.02)
    assert 0 < record["share_of_matrix_rate"] < 1.5


def test_saving(tmp_path) -> None:
    (record,) = benchmark(tmp_path, "saving", "--repeats", "1")
    size = checkpoint_size(load_config(ROOT / "configs/quickstart.yaml", TINY))
    assert record["checkpoint_mb"] == pytest.approx(size / 1e6, rel=0.05)  # buffers and counters come on top
    assert 0 < record["stall_seconds"] <= record["on_disk_after_at_most"]


def test_a_wrong_batch_is_one_line() -> None:
    command = [sys.executable, ROOT / "scripts/benchmark.py", "inference", "--batch", "0", "--config"]
    completed = subprocess.run([*command, ROOT / "configs/quickstart.yaml"], capture_output=True, text=True)
    assert completed.returncode == 2 and completed.stderr == "error: --batch must be at least 1, got 0\n"
