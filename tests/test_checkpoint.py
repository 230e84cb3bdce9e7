"""Checkpoint files: whole or not at all, and one line for whatever else is found under their name."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import sarigan.checkpoint
from sarigan.checkpoint import (
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    remove_old_checkpoints,
    resolve_checkpoint,
    save_checkpoint,
)
from sarigan.errors import InputError

STATE = {
    "step": 3,
    "config": {"a": 1.5, "b": None, "c": "text"},
    "weights": {"w": torch.arange(5000.0), "h": torch.ones(2, 3, dtype=torch.float64)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.0, 0.99)}]},
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path / "new" / "folder", 3)
    save_checkpoint(STATE, path)
    state = load_checkpoint(path)
    assert state.pop("format_version") == 1
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"]) and state["weights"]["h"].dtype == torch.float64
    assert state["config"] == STATE["config"] and state["optimizer"] == STATE["optimizer"]
    assert names(path.parent) == ["checkpoint-00000003.pt"]


def test_loading_runs_no_code_from_the_file(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = checkpoint_path(tmp_path, 1)
    torch.save({"format_version": 1, "evil": Evil()}, path)
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_failure_in_the_middle_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(STATE, path)
    before = path.read_bytes()

    def failing(state: dict[str, Any], file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sarigan.checkpoint.torch, "save", failing)
    with pytest.raises(InputError) as caught:
        save_checkpoint({**STATE, "step": 4}, path)
    message = str(caught.value)
    assert str(path) in message and os.strerror(code) in message and "\n" not in message
    assert path.read_bytes() == before and names(tmp_path) == [path.name]


def test_failure_while_renaming_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(STATE, path)
    before = path.read_bytes()

    def failing(source: Any, target: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sarigan.checkpoint.os, "replace", failing)
    with pytest.raises(InputError, match="Input/output error"):
        save_checkpoint({**STATE, "step": 4}, path)
    assert path.read_bytes() == before and names(tmp_path) == [path.name]


def test_a_crash_while_writing_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What kill -9 in the middle leaves is no checkpoint, and the next save clears it away."""
    save_checkpoint(STATE, checkpoint_path(tmp_path, 3))

    def killed(state: dict[str, Any], file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sarigan.checkpoint.torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(STATE, checkpoint_path(tmp_path, 6))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000003.pt"]
    save_checkpoint(STATE, checkpoint_path(tmp_path, 9))
    remove_old_checkpoints(tmp_path, keep=5)
    assert names(tmp_path) == ["checkpoint-00000003.pt", "checkpoint-00000009.pt"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/checkpoint-00000003.pt: cannot save the checkpoint"):
        save_checkpoint(STATE, checkpoint_path(tmp_path / "file", 3))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        save_checkpoint(STATE, checkpoint_path(tmp_path, 3))
    tmp_path.chmod(0o700)
    assert names(tmp_path) == []


def problem(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated or damaged" in problem(path)


def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    """Anywhere in the file: never a traceback, and never other weights than those that were saved."""
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(STATE, path)
    content, source, refused = path.read_bytes(), torch.Generator().manual_seed(0), 0
    positions = torch.randint(len(content), (60,), generator=source).tolist()
    # The pickle and the directory of the archive, where damage is hardest to survive, are small: look at them closely.
    start, end = content.index(b"data.pkl"), content.index(b"data.pkl") + 900
    positions += list(range(start, end, 15)) + list(range(len(content) - 400, len(content), 9))
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            state = load_checkpoint(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert torch.equal(state["weights"]["w"], STATE["weights"]["w"]), position
            assert torch.equal(state["weights"]["h"], STATE["weights"]["h"]), position
            assert state["step"] == 3 and state["config"] == STATE["config"], position
    assert refused > 60


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"")
    assert "truncated or damaged" in problem(path)
    path.write_bytes(b"hello, this is text\n" * 100)
    assert "truncated or damaged" in problem(path)
    path.write_bytes(os.urandom(5000))
    assert "truncated or damaged" in problem(path)
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    assert "not a checkpoint of this project" in problem(path)
    torch.save([1, 2], path)
    assert "not a checkpoint of this project" in problem(path)
    torch.save({"format_version": 99}, path)
    assert "checkpoint format 99, this version reads 1" in problem(path)
    assert "no such checkpoint" in problem(tmp_path / "none.pt")


def test_the_newest_are_kept_and_found(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    for step in (9, 10, 100, 20):
        save_checkpoint({"step": step}, checkpoint_path(folder, step))
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint-best.pt").write_text("mine too")
    assert resolve_checkpoint(tmp_path / "run") == resolve_checkpoint(folder) == checkpoint_path(folder, 100)
    assert resolve_checkpoint(checkpoint_path(folder, 9)) == checkpoint_path(folder, 9)
    remove_old_checkpoints(folder, keep=2)
    assert names(folder) == ["checkpoint-00000020.pt", "checkpoint-00000100.pt", "checkpoint-best.pt", "notes.txt"]


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no checkpoint"):
        resolve_checkpoint(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        resolve_checkpoint(tmp_path / "none")
    assert list_checkpoints(tmp_path / "none") == []
