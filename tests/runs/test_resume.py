"""A run that is stopped and goes on ends in the same state, to the last bit, as one that is not."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sarigan.config import Config
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, list_checkpoints, load_checkpoint, save_checkpoint
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.resume import restore, resume_from_newest, resume_summary
from sarigan.runs.run import train
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Hook, Trainer

Build = Callable[..., Any]


class StopAt(Hook):
    """Ctrl-C before the end of step N."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step == self.step - 1:
            trainer.stop_requested = True


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested states differ in any bit or key."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys(), key=str)
        return [line for k in keys for line in differences(a.get(k, "absent"), b.get(k, "absent"), f"{where}/{k}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in differences(x, y, f"{where}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    return [] if type(a) is type(b) and a == b else [where]


def final_state(trainer: Trainer) -> dict[str, Any]:
    state = trainer.state.state_dict()
    state.pop("seconds")
    return state


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.num_workers=0",),
        ("data.num_workers=1", "objective.mixing_kind=halves"),
        ("data.num_workers=0", "training.accumulation_rounds=2", "generator.grouping.threshold=quantile"),
    ],
    ids=["no-worker", "worker-halves", "two-rounds"],
)
def test_ten_and_ten_steps_are_twenty(
    overrides: tuple[str, ...], tmp_path: Path, tiny_config: Build, tiny_trainer: Build, tiny_state: Build
) -> None:
    config: Config = tiny_config(*overrides)
    uninterrupted = tiny_trainer(config, [CheckpointHook(tmp_path / "a", 0.04, 2)])
    uninterrupted.run()
    logged = uninterrupted.scalars.means()
    phases = {"loss/discriminator", "loss/r1", "loss/generator", "loss/path_length", "loss/grouping_mse"}
    assert phases | {"information/mse_d", "information/mse_g"} <= logged.keys()
    assert uninterrupted.state.step == 20

    first = tiny_trainer(config, [StopAt(10), CheckpointHook(tmp_path / "b" / "checkpoints", 100, 2)])
    first.run()
    assert first.state.step == 10
    # Fresh objects, as a fresh process has; other draws in between must not matter.
    torch.manual_seed(12345)
    state = TrainingState(config, resolve_precision(config.training))
    resume_from_newest(state, tmp_path / "b")
    assert state.step == 10 and state.seen_images == 80
    second = tiny_trainer(config, [CheckpointHook(tmp_path / "b" / "checkpoints", 100, 2)], state)
    second.run()
    assert differences(final_state(uninterrupted), final_state(second)) == []

    files = [load_checkpoint(list_checkpoints(folder)[-1]) for folder in (tmp_path / "a", tmp_path / "b" / "checkpoints")]
    for file in files:
        file.pop("seconds")
    assert differences(*files) == []


def test_the_comparison_sees_a_single_bit(tiny_config: Build, tiny_state: Build) -> None:
    """The test above can fail: one ulp in one weight is a difference."""
    state = tiny_state(tiny_config())
    before = {k: v.clone() for k, v in state.system.generator.state_dict().items()}
    assert differences(before, dict(state.system.generator.state_dict())) == []
    with torch.no_grad():
        weight = state.system.generator.synthesis.constant
        weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0))
    assert differences(before, dict(state.system.generator.state_dict())) == ["/synthesis.constant"]


def test_another_seed_gives_another_run(tiny_config: Build, tiny_trainer: Build) -> None:
    runs = [tiny_trainer(tiny_config(f"training.seed={seed}", "training.total_kimg=0.016")) for seed in (0, 0, 1)]
    for trainer in runs:
        trainer.run()
    assert differences(final_state(runs[0]), final_state(runs[1])) == []
    assert differences(final_state(runs[0]), final_state(runs[2])) != []


@pytest.fixture
def saved(tmp_path: Path, tiny_config: Build, tiny_trainer: Build) -> Path:
    """A run directory with the checkpoint of step 2."""
    trainer = tiny_trainer(tiny_config("training.total_kimg=0.016"), [CheckpointHook(tmp_path / "checkpoints", 100, 2)])
    trainer.run()
    return tmp_path


def test_another_architecture_is_refused_with_the_fields(saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    other = tiny_state(tiny_config("generator.style_dim=16", "generator.grouping.num_groups=4"))
    with pytest.raises(InputError) as caught:
        resume_from_newest(other, saved)
    message = str(caught.value)
    assert "\n" not in message and str(checkpoint_path(saved / "checkpoints", 2)) in message
    assert "generator.style_dim (8 there, 16 here)" in message
    assert "generator.grouping.num_groups (3 there, 4 here)" in message


@pytest.mark.parametrize(
    "override", ["objective.information_weight=0", "objective.information_target=codes"], ids=["no-q", "other-q"]
)
def test_another_q_head_is_refused_in_one_line(override: str, saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    with pytest.raises(InputError, match="does not fit this configuration") as caught:
        resume_from_newest(tiny_state(tiny_config(override)), saved)
    assert "\n" not in str(caught.value) and "recognition" in str(caught.value)


def test_another_batch_size_is_refused(saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    with pytest.raises(InputError, match=r"training\.batch_size must stay 8 when a run goes on, got 4"):
        resume_from_newest(tiny_state(tiny_config("training.batch_size=4")), saved)


def test_other_threads_or_precision_warn_but_go_on(saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    file = list_checkpoints(saved / "checkpoints")[-1]
    state = load_checkpoint(file)
    target = tiny_state(tiny_config())
    assert target.load_state_dict(state, str(file)) == []
    state["platform"]["threads"] = 64
    state["platform"]["precision"] = "bfloat16"
    warnings = tiny_state(tiny_config()).load_state_dict(state, str(file))
    assert [line.split(" was ")[0] for line in warnings] == ["threads", "precision"]
    assert "threads was 64, is 1" in warnings[0]


def test_checkpoint_holds_only_plain_data(saved: Path) -> None:
    """weights_only=True reads it, so a checkpoint from a stranger runs no code."""
    state = torch.load(list_checkpoints(saved / "checkpoints")[-1], weights_only=True)
    for name in ("generator", "discriminator", "ema_generator", "generator_optimizer", "discriminator_optimizer"):
        assert state[name]
    assert state["step"] == 2 and state["config"]["generator"]["resolution"] == 8
    assert state["mean_path_length"].item() > 0


def test_a_checkpoint_of_version_0_goes_on_as_one_of_today(
    saved: Path, tiny_config: Build, tiny_state: Build, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A handmade file of the oldest format (sarigan.files.checkpoint)."""
    today = load_checkpoint(list_checkpoints(saved / "checkpoints")[-1])
    old = {name: today[name] for name in ("config", "generator", "discriminator")}
    del old["config"]["training"]["max_nonfinite_steps"]  # a field of later days
    optimizers = {name: today[f"{name}_optimizer"] for name in ("generator", "discriminator", "grouping")}
    old |= {"format_version": 0, "seen_images": 16, "ema": today["ema_generator"], "optimizers": optimizers}
    old["path_length_mean"] = today["mean_path_length"].item()
    folder = tmp_path_factory.mktemp("old") / "checkpoints"
    folder.mkdir()
    torch.save(old, checkpoint_path(folder, 2))
    states = []
    for run_dir in (saved, folder.parent):
        state = tiny_state(tiny_config())
        resume_from_newest(state, run_dir)
        states.append(state.state_dict())
        states[-1].pop("seconds")
    assert states[1]["step"] == 2 and differences(*states) == []

    del old["ema"]
    torch.save(old, checkpoint_path(folder, 2))
    with pytest.raises(InputError, match="not a readable checkpoint of format 0"):
        resume_from_newest(tiny_state(tiny_config()), folder.parent)


def with_moments(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The state with other moments of the discriminator's first parameter."""
    optimizer = state["discriminator_optimizer"]
    moments = {**optimizer["state"], 0: {**optimizer["state"][0], **changes}}
    return {**state, "discriminator_optimizer": {**optimizer, "state": moments}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Fused Adam would write past a shorter one: in a process of its own this was SIGABRT or SIGSEGV.
        (lambda s: with_moments(s, exp_avg=torch.zeros(1)), "exp_avg of parameter 0 has the shape (1,), must have ("),
        (lambda s: with_moments(s, exp_avg_sq=torch.zeros(3, 3)), "exp_avg_sq of parameter 0 has the shape (3, 3), must"),
        (lambda s: with_moments(s, exp_avg="?"), "exp_avg of parameter 0 must hold floating-point numbers, got str"),
        (lambda s: with_moments(s, step=torch.tensor(-1.0)), "step of parameter 0 must be a number from 0"),
        (lambda s: {**s, "step": -5}, "step must be a whole number from 0, got -5"),
        (lambda s: {**s, "step": 2.5}, "step must be a whole number from 0, got 2.5"),
        (lambda s: {**s, "seconds": float("nan")}, "seconds must be a number from 0, got nan"),
        (lambda s: {**s, "mean_path_length": torch.tensor(torch.inf)}, "mean_path_length holds numbers that are not finite"),
        (
            lambda s: {**s, "generator": {k: v * torch.nan if v.is_floating_point() else v for k, v in s["generator"].items()}},
            "holds numbers that are not finite",
        ),
        (
            lambda s: {**s, "discriminator": {k: v.to(torch.int64) for k, v in s["discriminator"].items()}},
            "must hold floating-point numbers, got torch.int64",
        ),
    ],
)
def test_numbers_that_no_training_writes_are_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]], message: str, saved: Path, tiny_config: Build, tiny_state: Build
) -> None:
    file = list_checkpoints(saved / "checkpoints")[-1]
    with pytest.raises(InputError) as caught:
        tiny_state(tiny_config()).load_state_dict(change(load_checkpoint(file)), str(file))
    assert str(caught.value).startswith(f"{file}: the checkpoint does not fit this configuration (")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_moments_of_other_parameters_are_refused(saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    """The list of parameters deals the moments out, so its order is part of their shapes."""
    file = list_checkpoints(saved / "checkpoints")[-1]
    state = load_checkpoint(file)
    (group,) = state["generator_optimizer"]["param_groups"]
    group["params"] = group["params"][::-1]
    with pytest.raises(InputError, match="the optimiser's parameters are others"):
        tiny_state(tiny_config()).load_state_dict(state, str(file))
    group |= {"params": group["params"][::-1], "amsgrad": True, "weight_decay": 0.5}
    target = tiny_state(tiny_config())
    target.load_state_dict(state, str(file))
    (found,) = target.system.optimizers["generator_optimizer"].param_groups
    assert found["amsgrad"] is False and found["weight_decay"] == 0


def test_learning_rates_act_from_now_on_and_are_said(saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    file = list_checkpoints(saved / "checkpoints")[-1]
    other = tiny_state(tiny_config("optimizer.generator_learning_rate=0.01", "training.total_kimg=99", "objective.r1_gamma=7"))
    before = other.system.optimizers["generator_optimizer"].param_groups[0]["lr"]
    notes = restore(other, load_checkpoint(file), str(file))
    assert notes == [
        "objective.r1_gamma was 1.0, is 7.0 from now on",
        "optimizer.generator_learning_rate was 0.002, is 0.01 from now on",
    ]
    assert other.system.optimizers["generator_optimizer"].param_groups[0]["lr"] == before == pytest.approx(0.01 * 2 / 3)
    moments = next(iter(other.system.optimizers["generator_optimizer"].state.values()))
    assert float(moments["step"]) == 3  # two steps and one of path length


@pytest.mark.parametrize(
    ("override", "field"), [("training.seed=5", "training.seed (0 there, 5 here)"), ("data.num_images=7", "data.num_images")]
)
def test_another_data_order_is_refused(override: str, field: str, saved: Path, tiny_config: Build, tiny_state: Build) -> None:
    with pytest.raises(InputError, match="goes on with the images and the seed it began with") as caught:
        resume_from_newest(tiny_state(tiny_config(override)), saved)
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_another_data_set_of_equal_size_is_said(
    png_folder: Path, tmp_path: Path, tiny_config: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, when the run goes on with it; the same images elsewhere, and a checkpoint that does not know, are silent."""
    keys: list[str] = []
    read = ImageFolderDataset.content_key.fget
    monkeypatch.setattr(ImageFolderDataset, "content_key", property(lambda self: keys.append(read(self)) or keys[-1]))
    shutil.copytree(png_folder, tmp_path / "copy")
    shutil.copytree(png_folder, tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)

    def warnings(folder: Path, steps: int) -> list[str]:
        caplog.clear()
        config = tiny_config("data.name=folder", f"data.path={folder}", f"training.total_kimg={steps * 8 / 1000}")
        summary = resume_summary(config, tmp_path / "run")
        before = len(keys)
        state = train(config, tmp_path / "run").state
        assert state.step == steps and len(keys) == before + 1 and state.data_key == keys[-1]
        said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "data was" in r.getMessage()]
        assert (summary or "").splitlines()[1:] == said
        return said

    assert warnings(png_folder, 1) == []
    assert warnings(tmp_path / "copy", 2) == []
    (line,) = warnings(tmp_path / "other", 3)
    assert line == f"data was {keys[0]!r}, is {keys[-1]!r}: the run goes on with other images than it was trained on"
    assert warnings(tmp_path / "other", 4) == []
    file = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    old = load_checkpoint(file)
    assert old.pop("data_key") == keys[-1]
    save_checkpoint(old, file)
    assert warnings(png_folder, 5) == []
