"""Checkpoint files: whole or not at all, and one line for whatever else is found under their name."""

import errno
import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import sarigan.files.checkpoint
from sarigan.errors import InputError
from sarigan.files.checkpoint import (
    FORMAT_VERSION,
    DamagedCheckpointError,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    mark_best,
    point_to_newest,
    read_pointer,
    remove_old_checkpoints,
    resolve_checkpoint,
    save_checkpoint,
)

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
    assert state.pop("format_version") == FORMAT_VERSION
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"]) and state["weights"]["h"].dtype == torch.float64
    assert state["config"] == STATE["config"] and state["optimizer"] == STATE["optimizer"]
    assert names(path.parent) == ["checkpoint-00000003.pt"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    os.mkfifo(path)
    for look in (load_checkpoint, resolve_checkpoint):
        with pytest.raises(InputError, match=f"^{path}: a pipe, socket or device; a regular file or a folder is right$"):
            look(path)
    with pytest.raises(InputError, match=r"^/[^\n]+\.\.\.: cannot be read \(File name too long\)$"):
        resolve_checkpoint(tmp_path / ("x" * 5000))


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

    monkeypatch.setattr(sarigan.files.checkpoint.torch, "save", failing)
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

    monkeypatch.setattr(sarigan.files.checkpoint.os, "replace", failing)
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
        patch.setattr(sarigan.files.checkpoint.torch, "save", killed)
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


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    """Anywhere in the file, padding and names of the archive included, and never a traceback."""
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(STATE, path)
    content, source = path.read_bytes(), torch.Generator().manual_seed(0)
    positions = torch.randint(len(content), (60,), generator=source).tolist()
    # The pickle, the directory of the archive and the checksum are small: look at them closely.
    start = content.index(b"data.pkl")
    positions += [*range(start, start + 900, 15), *range(len(content) - 500, len(content), 3)]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        assert "not a readable checkpoint" in problem(path) or "not a checkpoint" in problem(path), position


def test_formats_before_the_seal(tmp_path: Path) -> None:
    """Format 1 has no checksum of the whole, and is read; format 2 without one has lost it."""
    path = checkpoint_path(tmp_path, 3)
    torch.save({"format_version": 1, **STATE}, path)
    assert torch.equal(load_checkpoint(path)["weights"]["w"], STATE["weights"]["w"])
    content = bytearray(path.read_bytes())
    content[content.index(STATE["weights"]["w"].numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert "wrong checksum" in problem(path)
    torch.save({"format_version": 2, **STATE}, path)
    assert "no checksum" in problem(path)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_disk_that_fails_is_not_a_damaged_file(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a good checkpoint would be set aside for a moment's trouble of a network disk."""
    path = tmp_path / "checkpoint-00000001.pt"
    save_checkpoint(STATE, path)

    def failing(*arguments: object, **keywords: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(sarigan.files.checkpoint.torch, "load", failing)
    with pytest.raises(InputError, match=f"cannot be read .*{os.strerror(code)}") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_the_best_is_kept_and_found(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    paths = {step: checkpoint_path(folder, step) for step in (1, 2, 3, 4)}
    for step, path in paths.items():
        save_checkpoint({"step": step}, path)
        point_to_newest(path)
        if step in (1, 2):
            mark_best(path, "fid", 10.0 / step)
        remove_old_checkpoints(folder, keep=1)
    assert list_checkpoints(folder) == [paths[2], paths[4]]
    assert resolve_checkpoint(tmp_path / "run" / "best") == paths[2] and resolve_checkpoint(folder) == paths[4]
    pointer = read_pointer(folder)
    assert pointer["best"]["value"] == 5.0 and pointer["newest"]["step"] == 4
    content = paths[4].read_bytes()
    assert hashlib.sha256(content[: -len("sha256:") - 64]).hexdigest() == pointer["newest"]["sha256"]
    paths[2].unlink()
    with pytest.raises(InputError, match="no checkpoint is marked as the best"):
        resolve_checkpoint(folder / "best")
    (folder / "pointer.json").write_text('{"best": [')
    assert resolve_checkpoint(folder) == paths[4]


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"")
    assert "truncated or damaged" in problem(path)
    path.write_bytes(b"hello, this is text\n" * 100)
    assert "truncated or damaged" in problem(path)
    path.write_bytes(random.Random(0).randbytes(5000))
    assert "truncated or damaged" in problem(path)
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    assert "not a checkpoint of this project" in problem(path)
    torch.save([1, 2], path)
    assert "not a checkpoint of this project" in problem(path)
    torch.save({"format_version": 99}, path)
    assert "checkpoint format 99, this version reads up to 2" in problem(path)
    assert "cannot be read (No such file or directory)" in problem(tmp_path / "none.pt")


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
