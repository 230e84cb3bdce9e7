"""The drill of scripts/drill.py, with two kills: whatever the moment, the same command ends in the same set."""

import os
import subprocess
import sys
from pathlib import Path

from process_tools import DEADLINE

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "drill.py"


def test_two_kills(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "prepare", "--times", "2", "--num-images", "400", "--folder", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "2 kills: all well" and all(line.endswith("hash the same") for line in lines[1:3])
