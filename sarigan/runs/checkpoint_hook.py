"""Checkpoints beside the training: a copy to host memory, then a thread writes it, updates the pointer and deletes old ones."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, mark_best, point_to_newest, remove_old_checkpoints, save_checkpoint
from sarigan.training.hooks import interval_steps
from sarigan.training.trainer import Hook, Trainer


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread; an error of the thread is raised at the next call."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.failed = False  # once is enough: the next attempt would meet the same disk

    def submit(self, state: dict[str, Any]) -> None:
        """Wait for the one before, copy `state`, and write <folder>/checkpoint-<step>.pt in the background."""
        self.wait()
        copy = to_host(state)
        self._thread = threading.Thread(target=self._write, args=(copy,), name="checkpoint writer")
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def poll(self) -> None:
        """Raise the error of the thread, if it has ended with one."""
        if not self.busy:
            self.wait()

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Wait until the file is on the disk; InputError when it cannot be written."""
        if self._thread is None:
            return
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            return
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, state: dict[str, Any]) -> None:
        path = checkpoint_path(self.folder, int(state["step"]))
        try:
            save_checkpoint(state, path)
            point_to_newest(path)
            remove_old_checkpoints(self.folder, self.keep)
        except InputError as error:
            self._error = error
        except OSError as error:
            self._error = InputError(f"{error.filename or self.folder}: {error.strerror or error}; {path.name} is saved")
        except Exception as error:  # nobody sees what a thread raises
            self._error = error
        self.failed = self._error is not None


def to_host(value: Any) -> Any:
    """A copy with all tensors in host memory, which further training does not change. Waits for the device, once."""
    gpus: set[torch.device] = set()
    copy = _copy(value, gpus)
    for gpu in gpus:
        torch.cuda.current_stream(gpu).synchronize()
    return copy


def _copy(value: Any, gpus: set[torch.device]) -> Any:
    """As `to_host` without waiting: copies from a GPU may be under way, and the GPU is added to `gpus`."""
    if isinstance(value, Tensor):
        value = value.detach()
        if not value.is_cuda:
            return value.to("cpu", copy=True)
        gpus.add(value.device)
        return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
    if isinstance(value, dict):
        return {key: _copy(item, gpus) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(item, gpus) for item in value)
    return value


def checkpoint_bytes(state: Any) -> int:
    """Bytes of all tensors of a nested state."""
    if isinstance(state, Tensor):
        return state.numel() * torch.empty((), dtype=state.dtype).element_size()
    if isinstance(state, dict):
        return sum(checkpoint_bytes(item) for item in state.values())
    return sum(checkpoint_bytes(item) for item in state) if isinstance(state, list | tuple) else 0


class CheckpointHook(Hook):
    """A checkpoint every N kimg and at the end, unless the losses went non-finite; keeps the newest few, and the best."""

    every_rank = True

    def __init__(self, folder: Path, checkpoint_kimg: float, keep: int) -> None:
        self.folder, self.checkpoint_kimg, self.keep = folder, checkpoint_kimg, keep
        self.writer = CheckpointWriter(folder, keep)
        self.saved_step: int | None = None

    def before_training(self, trainer: Trainer) -> None:
        self.interval = interval_steps(self.checkpoint_kimg, trainer.batch_size)
        self.saved_step = trainer.state.step or None  # the checkpoint that the run goes on from exists

    def after_step(self, trainer: Trainer) -> None:
        self.writer.poll()
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Start writing <folder>/checkpoint-<step>.pt, unless this step is saved already; rank 0 writes for all."""
        if self.saved_step == trainer.state.step:
            return
        trainer.check_finite()
        if distributed.is_main():
            trainer.system.prepare_to_save()
            self.writer.submit(trainer.state.state_dict())
        self.saved_step = trainer.state.step

    def mark_best(self, trainer: Trainer, metric: str, value: float) -> None:
        """Save this step, wait for the file, and keep it as the best until another is. For rank 0."""
        self.save(trainer)
        self.writer.wait()
        mark_best(checkpoint_path(self.folder, trainer.state.step), metric, value)

    def after_training(self, trainer: Trainer) -> None:
        # A lost image, a second Ctrl-C: whatever ends a run between two steps, all that was trained is there to be saved.
        if trainer.state.step and not trainer.in_step and not self.writer.failed:
            with suppress(InputError):
                self.save(trainer)
        self.writer.wait()
