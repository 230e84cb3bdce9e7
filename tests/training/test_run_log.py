"""The log of a run, and what a resumed run does with the lines of steps it will repeat."""

import json
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sarigan.runs.run import recorded_precision
from sarigan.training.hooks import RunLogger


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_and_tensorboard(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    logger.log(5, 0.04, 1.23456, {"loss/generator": 0.5})
    logger.log(10, 0.08, 2.0, {"loss/generator": 0.25, "extra": 1.0})
    logger.log_image(10, "samples", np.zeros((4, 6, 3), dtype=np.uint8))
    logger.close()
    assert lines(tmp_path) == [
        {"step": 5, "kimg": 0.04, "seconds": 1.23, "loss/generator": 0.5},
        {"step": 10, "kimg": 0.08, "seconds": 2.0, "loss/generator": 0.25, "extra": 1.0},
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/generator")] == [(5, 0.5), (10, 0.25)]
    (image,) = events.Images("samples")
    assert (image.step, image.width, image.height) == (10, 6, 4)


def test_a_resumed_run_drops_what_it_will_log_again(tmp_path: Path) -> None:
    first = RunLogger(tmp_path)
    for step in (5, 10, 15, 20):
        first.log(step, step / 100, 0.0, {"x": float(step)})
    first.close()
    # A crash can cut the last line short.
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 25, "kimg"')
    second = RunLogger(tmp_path, resume_step=10)
    second.log(15, 0.15, 0.0, {"x": -15.0})
    second.close()
    assert [(line["step"], line["x"]) for line in lines(tmp_path)] == [(5, 5.0), (10, 10.0), (15, -15.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("x")] == [(5, 5.0), (10, 10.0), (15, -15.0)]


def test_a_spoilt_line_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    first = RunLogger(tmp_path)
    for step in (5, 10):
        first.log(step, step / 100, 0.0, {"x": float(step)})
    first.close()
    whole = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)
    spoilt = [b'{"step": 6, "x": "\xff"}\n', b'{"step": 1e999}\n', b"[" * 100_000 + b"\n", b"[]\n", b"\n"]
    (tmp_path / "log.jsonl").write_bytes(b"".join([whole[0], *spoilt, whole[1]]))
    RunLogger(tmp_path, resume_step=10).close()
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(whole)


def test_a_run_that_starts_over_leaves_no_old_curve(tmp_path: Path) -> None:
    """Killed before its first checkpoint: the same command starts at step 0 again."""
    first = RunLogger(tmp_path)
    first.log(5, 0.05, 0.0, {"x": 1.0})
    first.close()
    second = RunLogger(tmp_path, resume_step=0)
    second.log(5, 0.05, 0.0, {"x": 2.0})
    second.close()
    assert [line["x"] for line in lines(tmp_path)] == [2.0]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("x")] == [2.0]


@pytest.mark.parametrize("text", ["[]", "5", '{"precision": ["float32"]}', "\xff", "[" * 100_000])
def test_a_spoilt_environment_does_not_keep_a_run_from_going_on(text: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-00000001.pt").touch()
    (tmp_path / "environment.json").write_bytes(text.encode("latin-1"))
    assert recorded_precision(tmp_path) is None
    (tmp_path / "environment.json").write_text('{"precision": "bfloat16"}')
    assert recorded_precision(tmp_path) == "bfloat16"
