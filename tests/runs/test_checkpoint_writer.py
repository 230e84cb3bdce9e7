"""Writing beside the training: what is written is what was submitted, and nothing that goes wrong stays unseen."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import sarigan.runs.checkpoint_hook
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, list_checkpoints, load_checkpoint, read_pointer
from sarigan.runs.checkpoint_hook import CheckpointWriter, checkpoint_bytes, to_host


def test_training_goes_on_while_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submit() returns before the file is there; what changes afterwards does not reach it."""
    may_write = threading.Event()
    save = sarigan.runs.checkpoint_hook.save_checkpoint

    def waiting(state: dict[str, Any], path: Path) -> None:
        assert may_write.wait(30)
        save(state, path)

    monkeypatch.setattr(sarigan.runs.checkpoint_hook, "save_checkpoint", waiting)
    weight = torch.ones(3)
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.submit({"step": 1, "config": {}, "weights": [weight, {"same": weight}]})
    weight.fill_(7)
    writer.poll()
    assert list_checkpoints(tmp_path) == []
    may_write.set()
    writer.wait()
    state = load_checkpoint(checkpoint_path(tmp_path, 1))
    assert torch.equal(state["weights"][0], torch.ones(3)) and torch.equal(state["weights"][1]["same"], torch.ones(3))
    assert read_pointer(tmp_path)["newest"]["step"] == 1


@pytest.mark.parametrize("call", ["poll", "wait", "submit"])
@pytest.mark.parametrize("error", [InputError("full"), RuntimeError("a fault")])
def test_errors_of_the_thread_surface(call: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(state: dict[str, Any], path: Path) -> None:
        raise error

    monkeypatch.setattr(sarigan.runs.checkpoint_hook, "save_checkpoint", failing)
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.submit({"step": 1})
    assert writer._thread is not None
    writer._thread.join()
    with pytest.raises(type(error), match=str(error)):
        getattr(writer, call)(*([{"step": 2}] if call == "submit" else []))
    writer.wait()  # said once


def test_to_host_copies_every_tensor() -> None:
    state = {"a": torch.arange(3), "b": [(torch.ones(2, dtype=torch.float64), "text")], "c": None}
    copy = to_host(state)
    state["a"].zero_()
    state["b"][0][0].zero_()
    assert torch.equal(copy["a"], torch.arange(3)) and copy["b"][0][0].sum() == 2 and copy["b"][0][1] == "text"
    assert checkpoint_bytes(state) == 3 * 8 + 2 * 8
