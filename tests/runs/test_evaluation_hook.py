"""Metrics during training: they change no bit of it, are logged, and the best checkpoint is kept and resumed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.files.checkpoint import best_entry, checkpoint_path, list_checkpoints, load_checkpoint, resolve_checkpoint
from sarigan.metrics import catalogue
from sarigan.metrics.evaluation import Result
from sarigan.models.feature_networks.feature_network import FeatureNetwork, Features
from sarigan.runs import evaluation_hook
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.runs.evaluation_hook import EvaluationHook, describe_metrics
from sarigan.training.hooks import RunLogger
from sarigan.training.trainer import Hook, Trainer

METRICS = ("metrics.names=[fd_efficientnet]", "metrics.interval_kimg=0.08", "metrics.num_images=20", "metrics.batch_size=6")


class Pixels(FeatureNetwork):
    """Four pixels as features."""

    dimension, input_size, center, spread = 4, 2, (128.0,), (64.0,)

    def extract(self, x: torch.Tensor) -> Features:
        return Features(x[:, 0].flatten(start_dim=1), None)


@pytest.fixture
def hooks_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Hook]]:
    """hooks_of(config, dataset): the evaluation's hook and the checkpoints' that it needs, in an empty run directory."""
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))

    def build(config: Config, dataset: Any) -> list[Hook]:
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        network = Pixels("efficientnet", "0" * 64)
        checkpoints = CheckpointHook(run / "checkpoints", checkpoint_kimg=100, keep=1)
        logger = RunLogger(run, 0)
        return [checkpoints, EvaluationHook(logger, run, config.metrics, dataset, checkpoints, {"efficientnet": network})]

    return build


def test_training_is_the_same_to_the_last_bit(
    tiny_config: Callable[..., Config], tiny_trainer: Callable[..., Trainer], hooks_of: Callable[..., list[Hook]],
    tmp_path: Path,
) -> None:  # fmt: skip
    config = tiny_config(*METRICS)
    plain, watched = tiny_trainer(tiny_config()), tiny_trainer(config)
    watched.hooks = hooks_of(config, watched.dataset)
    torch.manual_seed(0)
    plain.run()
    after_plain = torch.get_rng_state()
    torch.manual_seed(0)
    watched.run()
    assert torch.equal(torch.get_rng_state(), after_plain)
    for name, value in plain.state.system.generator.state_dict().items():
        assert torch.equal(value, watched.state.system.generator.state_dict()[name]), name
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10, 20]
    values = [line["metrics/fd_efficientnet"] for line in lines]
    best = best_entry(tmp_path / "run" / "checkpoints")
    assert best is not None and best["value"] == min(values) and best["metric"] == "fd_efficientnet"
    assert load_checkpoint(resolve_checkpoint(tmp_path / "run" / "best"))["step"] == best["step"]
    report = json.loads((tmp_path / "run" / "evaluation" / "000000160.json").read_text())["results"][0]
    assert report["value"] == values[-1] and report["num_images"] == 20 and report["num_real_images"] == 37
    (line,) = describe_metrics(tmp_path / "run")
    assert f"{values[0]:.4g} at 0 kimg" in line and f"fd_efficientnet: {values[-1]:.4g}, measured last at 0.16 kimg" in line


@pytest.mark.parametrize(("higher", "kept_step"), [(False, 10), (True, 20)])
def test_best_of_both_directions(
    tiny_config: Callable[..., Config], tiny_trainer: Callable[..., Trainer], hooks_of: Callable[..., list[Hook]],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, higher: bool, kept_step: int,
) -> None:  # fmt: skip
    values = iter([2.0, 1.0, 3.0, math.nan, 1.5])

    def scripted(*arguments: object) -> catalogue.Report:
        return catalogue.Report([Result("score", next(values), "", higher_is_better=higher)], {})

    def train(kimg: float) -> None:
        config = tiny_config(*METRICS, f"training.total_kimg={kimg}")
        trainer.total_steps = round(kimg * 1000 / 8)
        trainer.hooks = hooks_of(config, trainer.dataset)
        trainer.run()

    monkeypatch.setattr(evaluation_hook, "evaluate", scripted)
    trainer = tiny_trainer(tiny_config(*METRICS))
    folder = tmp_path / "run" / "checkpoints"
    train(0.16)
    assert resolve_checkpoint(tmp_path / "run" / "best") == checkpoint_path(folder, kept_step)
    train(0.32)  # goes on, remembers, and a NaN is never the best
    assert resolve_checkpoint(tmp_path / "run" / "best") == checkpoint_path(folder, kept_step)
    assert list_checkpoints(folder) == [checkpoint_path(folder, step) for step in (kept_step, 40)]


@pytest.mark.parametrize("batch", [1, 9, 13])  # 7 of real and 4 of generated images at step 0, then 4
def test_a_request_to_stop_breaks_an_evaluation_off(
    batch: int, tiny_config: Callable[..., Config], tiny_trainer: Callable[..., Trainer], hooks_of: Callable[..., list[Hook]],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What was trained is saved, and the run that goes on ends as the one that was not stopped."""
    config = tiny_config(*METRICS)
    batches = 0
    extract = Pixels.extract

    def counted(self: Pixels, x: torch.Tensor) -> Features:
        nonlocal batches
        batches += 1
        trainer.stop_requested |= batches == batch
        return extract(self, x)

    monkeypatch.setattr(Pixels, "extract", counted)
    trainer = tiny_trainer(config)
    trainer.hooks = hooks_of(config, trainer.dataset)
    trainer.run()
    assert batches == batch
    step = 0 if batch < 11 else 10
    assert trainer.state.step == step
    saved = [load_checkpoint(path)["step"] for path in list_checkpoints(tmp_path / "run" / "checkpoints")]
    assert saved[-1:] == ([10] if step else [])
    trainer.stop_requested, trainer.hooks = False, hooks_of(config, trainer.dataset)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10, 20]  # what was broken off is made up for


def test_a_run_that_is_asked_to_stop_does_not_evaluate_at_its_end(
    tiny_config: Callable[..., Config], tiny_trainer: Callable[..., Trainer], hooks_of: Callable[..., list[Hook]],
    tmp_path: Path,
) -> None:  # fmt: skip
    class Stop(Hook):
        def after_step(self, trainer: Trainer) -> None:
            trainer.stop_requested |= trainer.state.step == 3

    config = tiny_config(*METRICS)
    trainer = tiny_trainer(config)
    trainer.hooks = [Stop(), *hooks_of(config, trainer.dataset)]
    trainer.run()
    assert trainer.state.step == 4
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0]
    assert resolve_checkpoint(tmp_path / "run") == checkpoint_path(tmp_path / "run" / "checkpoints", 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics.names=[fdi]", "there is no 'fdi'"),
        ("metrics.interval_kimg=0", "metrics.interval_kimg must be positive"),
        ("metrics.num_images=0", "metrics.num_images must be at least 1"),
        ("metrics.preprocessing=tf2", "metrics.preprocessing must be one of tf, clean, release"),
    ],
)
def test_refused(tiny_config: Callable[..., Config], override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_config(override)


def test_unknown_best(
    tiny_config: Callable[..., Config], tiny_trainer: Callable[..., Trainer], hooks_of: Callable[..., list[Hook]]
) -> None:
    config = tiny_config(*METRICS, "metrics.best=fid")
    trainer = tiny_trainer(config)
    trainer.hooks = hooks_of(config, trainer.dataset)
    with pytest.raises(InputError, match="metrics.best must be one of the results fd_efficientnet, got 'fid'"):
        trainer.run()
