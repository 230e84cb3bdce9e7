"""How a run ends: at its total, at a time limit, on a signal, on a non-finite loss, on a full disk; and what it leaves."""

import errno
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sarigan.files.checkpoint
import sarigan.training.hooks
import sarigan.training.trainer
from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint, read_pointer
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.run import stop_on_signal, train
from sarigan.training.hooks import RunLogger
from sarigan.training.trainer import Hook, Trainer

Build = Callable[..., Any]


@pytest.fixture
def run_config(tiny_config: Build, png_folder: Path) -> Callable[..., Config]:
    """A run on PNG files: a checkpoint every 2 steps, a tick every 3, 6 steps in all."""

    def build(*overrides: str) -> Config:
        return tiny_config(
            "data.name=folder", f"data.path={png_folder}", "training.total_kimg=0.048",
            "training.checkpoint_kimg=0.016", "training.tick_kimg=0.024", *overrides,
        )  # fmt: skip

    return build


def steps_of_checkpoints(run_dir: Path) -> list[int]:
    return [int(path.stem.split("-")[1]) for path in list_checkpoints(run_dir / "checkpoints")]


def test_a_run_leaves_its_directory(run_config: Build, tmp_path: Path) -> None:
    trainer = train(run_config(), tmp_path / "run")
    assert trainer.state.step == 6
    run_dir = tmp_path / "run"
    assert steps_of_checkpoints(run_dir) == [4, 6]  # the newest two
    assert not list(run_dir.rglob("*.tmp"))
    assert sorted(path.name for path in (run_dir / "samples").iterdir()) == ["000000000.png", "000000048.png"]
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6] and [line["kimg"] for line in lines] == [0.024, 0.048]
    for name in (
        "loss/discriminator", "loss/generator", "loss/r1", "loss/path_length", "loss/grouping_mse", "information/r2_d",
        "groups/8x8.up/threshold", "groups/8x8.conv/temperature", "groups/8x8.up/nonempty",
        "groups/8x8.up/size_entropy", "groups/8x8.up/ema_agreement", "speed/images_per_second",
    ):  # fmt: skip
        assert any(name in line for line in lines), name
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["precision"] == "float32"
    assert (run_dir / "config.yaml").is_file() and list((run_dir / "tensorboard").iterdir())


def test_the_same_call_again_goes_on_to_a_longer_total(run_config: Build, tmp_path: Path) -> None:
    train(run_config("training.total_kimg=0.024"), tmp_path)
    trainer = train(run_config(), tmp_path)
    assert trainer.state.step == 6
    uninterrupted = train(run_config(), tmp_path / "other")
    for a, b in zip(trainer.system.generator.parameters(), uninterrupted.system.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [3, 6]


def test_time_limit_counts_over_all_starts(run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every look takes 10 s: a limit of 25 s ends the run after the third step, with a checkpoint."""
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(sarigan.training.trainer.time, "perf_counter", lambda: float(next(now)))
    config = run_config("training.max_minutes=0.4")
    step = Trainer.train_step

    def timed(self: Trainer, batches: Any) -> None:
        step(self, batches)
        sarigan.training.trainer.time.perf_counter()  # two looks a step by the loop: 20 s with this one

    monkeypatch.setattr(Trainer, "train_step", timed)
    trainer = train(config, tmp_path)
    assert trainer.state.seconds >= 24 and trainer.state.step < trainer.total_steps
    stopped_at = trainer.state.step
    assert steps_of_checkpoints(tmp_path)[-1] == stopped_at
    assert train(config, tmp_path).state.step == stopped_at


class Signal(Hook):
    """Delivers a signal after a step, once every other hook has been called."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step == self.step:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("last", [True, False], ids=["after-the-hooks", "before-the-hooks"])
def test_a_signal_finishes_the_step_and_saves_whenever_it_comes(
    number: int, last: bool, tiny_config: Build, tiny_trainer: Build, tmp_path: Path
) -> None:
    """Also one that arrives when the checkpoint hook of this step has already had its turn."""
    save = CheckpointHook(tmp_path, checkpoint_kimg=100, keep=2)
    hooks = [save, Signal(2, number)] if last else [Signal(2, number), save]
    trainer = tiny_trainer(tiny_config(), hooks)
    before = signal.getsignal(number)
    with stop_on_signal(trainer):
        trainer.run()
    assert signal.getsignal(number) == before
    assert 2 <= trainer.state.step <= 3
    assert [load_checkpoint(path)["step"] for path in list_checkpoints(tmp_path)] == [trainer.state.step]


def spoil(phase: str, step: int) -> Callable[[Trainer], None]:
    """Make the loss of a phase NaN in one step."""

    def patch(trainer: Trainer) -> None:
        target = next(p for p in trainer.phases if p.name == phase)
        loss = target.loss

        def spoiled(shard: Any) -> Any:
            value, scalars = loss(shard)
            return (value * float("nan") if trainer.state.step == step else value), scalars

        target.loss = spoiled

    return patch


@pytest.mark.parametrize(
    ("phase", "step"), [("generator", 2), ("discriminator", 3), ("path_length", 2), ("grouping", 4), ("r1", 3)]
)
def test_non_finite_loss_names_the_first_step_and_phase(
    phase: str, step: int, run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constructed = Trainer.__init__

    def patched(self: Trainer, *arguments: Any) -> None:
        constructed(self, *arguments)
        spoil(phase, step)(self)

    monkeypatch.setattr(Trainer, "__init__", patched)
    config = run_config("training.sample_kimg=0.016", "training.max_nonfinite_steps=1")
    with pytest.raises(InputError) as caught:
        train(config, tmp_path)
    message = str(caught.value)
    assert f"phase {phase} became non-finite in step {step}" in message and "\n" not in message
    # What was saved was saved before, and is finite; nothing was written after.
    steps = steps_of_checkpoints(tmp_path)
    assert steps and max(steps) <= step
    for path in list_checkpoints(tmp_path / "checkpoints"):
        state = load_checkpoint(path)
        for name in ("generator", "discriminator", "ema_generator"):
            assert all(bool(value.isfinite().all()) for value in state[name].values())
    samples = sorted(int(path.stem) // 8 for path in (tmp_path / "samples").iterdir())
    assert max(samples) <= step


def test_non_finite_gradient_of_a_finite_loss_is_not_saved(tiny_config: Build, tiny_trainer: Build, tmp_path: Path) -> None:
    """sqrt at 0 has a finite value and an infinite slope."""
    config = tiny_config("training.max_nonfinite_steps=1")
    trainer = tiny_trainer(config, [CheckpointHook(tmp_path, 0.008, 1)])
    target = next(phase for phase in trainer.phases if phase.name == "path_length")
    loss = target.loss

    def spoiled(shard: Any) -> Any:
        value, scalars = loss(shard)
        return value + ((value * 0).sqrt() if trainer.state.step == 2 else 0), scalars

    target.loss = spoiled
    with pytest.raises(InputError, match="non-finite"):
        trainer.run()
    (path,) = list_checkpoints(tmp_path)
    assert all(bool(value.isfinite().all()) for value in load_checkpoint(path)["generator"].values())


@pytest.mark.parametrize("phase", ["discriminator", "r1", "generator", "path_length", "grouping"])
def test_a_single_non_finite_step_is_skipped_counted_and_logged(phase: str, tiny_config: Build, tiny_trainer: Build) -> None:
    """The spoilt update changes neither weights nor moments nor the mean path length; the run goes on."""
    trainer = tiny_trainer(tiny_config("objective.r1_interval=2", "training.total_kimg=0.032"))
    spoil(phase, 2)(trainer)
    module = trainer.system.networks[next(p.network for p in trainer.phases if p.name == phase)]
    seen: dict[int, list[torch.Tensor]] = {}
    target = next(p for p in trainer.phases if p.name == phase)
    step_of = target.optimizer.step

    def watched() -> None:
        before = [p.detach().clone() for p in target.parameters]
        counts = [float(target.optimizer.state[p]["step"]) for p in target.parameters if target.optimizer.state[p]]
        step_of()
        if trainer.state.step == 2 and target.optimizer.found_inf:
            seen[2] = before
            assert [float(target.optimizer.state[p]["step"]) for p in target.parameters] == counts
            assert all(torch.equal(a, b) for a, b in zip(before, target.parameters, strict=True))

    target.optimizer.step = watched
    trainer.run()
    assert 2 in seen and trainer.state.step == 4 and trainer.nonfinite.total() == 1
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    assert bool(trainer.system.objective.mean_path_length.isfinite())
    means = trainer.scalars.means()
    assert means and all(torch.tensor(value).isfinite() for value in means.values())
    trainer.check_finite()


def test_as_many_non_finite_steps_in_a_row_as_allowed_end_the_run(tiny_config: Build, tiny_trainer: Build) -> None:
    """Three in a row with one good one before; two do not."""
    for most, fails in ((3, True), (4, False)):
        trainer = tiny_trainer(tiny_config(f"training.max_nonfinite_steps={most}", "training.total_kimg=0.048"))
        for step in (0, 2, 3, 4):
            spoil("generator", step)(trainer)
        trainer.run()
        assert trainer.nonfinite.total() == 4
        if fails:
            with pytest.raises(InputError, match="phase generator became non-finite in step 2, and 3 step"):
                trainer.check_finite()
        else:
            trainer.check_finite()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_full_disk_at_a_checkpoint_is_one_line_and_keeps_the_earlier_one(
    code: int, run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    calls = []

    def failing(state: Any, file: Any) -> None:
        calls.append(state["step"])
        if len(calls) == 2:
            file.write(b"half of it")
            raise OSError(code, "No space left on device" if code == errno.ENOSPC else "other")
        save(state, file)

    monkeypatch.setattr(sarigan.files.checkpoint.torch, "save", failing)
    with pytest.raises(InputError) as caught:
        train(run_config(), tmp_path)
    message = str(caught.value)
    assert "checkpoint-00000004.pt" in message and "earlier checkpoints are untouched" in message and "\n" not in message
    assert calls == [2, 4] and steps_of_checkpoints(tmp_path) == [2]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-00000002.pt", "pointer.json"]
    assert read_pointer(tmp_path / "checkpoints")["newest"]["step"] == 2
    assert load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[0])["step"] == 2


def test_run_directory_that_cannot_be_written(run_config: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/run: cannot write the run directory"):
        train(run_config(), tmp_path / "file" / "run")


def test_corrupt_image_is_named_and_checkpoints_stay(run_config: Build, tmp_path: Path, png_folder: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(png_folder, folder)
    train(run_config(f"data.path={folder}", "training.total_kimg=0.016"), tmp_path / "run")
    for path in sorted(folder.iterdir())[1:]:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError) as caught:
        train(run_config(f"data.path={folder}"), tmp_path / "run")
    assert str(folder) in str(caught.value) and ".png: not a readable image" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert steps_of_checkpoints(tmp_path / "run") == [2]


def test_what_was_trained_before_a_lost_image_is_saved(
    run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of the sixth step cannot be read; the last regular checkpoint is of the fourth."""
    step = Trainer.train_step

    def failing(self: Trainer, batches: Any) -> None:
        if self.state.step == 5:
            raise InputError("images/7.png: not a readable image")
        step(self, batches)

    monkeypatch.setattr(Trainer, "train_step", failing)
    with pytest.raises(InputError, match=r"images/7\.png"):
        train(run_config(), tmp_path)
    assert steps_of_checkpoints(tmp_path) == [4, 5]
    monkeypatch.undo()
    uninterrupted = train(run_config(), tmp_path / "other")
    resumed = train(run_config(), tmp_path)
    for a, b in zip(resumed.system.generator.parameters(), uninterrupted.system.generator.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_number_of_images_is_refused(run_config: Build, tmp_path: Path, png_folder: Path) -> None:
    train(run_config("training.total_kimg=0.016"), tmp_path / "run")
    fewer = tmp_path / "images"
    shutil.copytree(png_folder, fewer)
    sorted(fewer.iterdir())[0].unlink()
    with pytest.raises(InputError, match="the run began with 24 images, the data set has 23; a run goes on with the images"):
        train(run_config(f"data.path={fewer}"), tmp_path / "run")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'; it is set by the launcher, torchrun"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be at least 1, got 0"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK must be from 0 to 1 with WORLD_SIZE=2, got 2"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 but RANK, MASTER_ADDR, MASTER_PORT not set: start several processes with torchrun"),
    ],
)
def test_a_nonsensical_launcher_is_one_line(
    variables: dict[str, str], line: str, run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        train(run_config(), tmp_path / "run")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["log", "image", "close"])
def test_full_disk_at_the_log_is_one_line_too(
    where: str, run_config: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log, a sample grid, or TensorBoard's buffer, which is flushed only when the run is closed."""

    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "image":
        monkeypatch.setattr(sarigan.training.hooks, "save_grid", full)
    else:
        monkeypatch.setattr(RunLogger, where, full)
    with pytest.raises(InputError, match="No space left on device; training stopped") as caught:
        train(run_config(), tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
