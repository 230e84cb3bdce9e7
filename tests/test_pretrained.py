"""load_generator: the public door to a trained model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan import load_generator
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tiny_config: Build, tiny_trainer: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    """Three steps, and the run directory they left."""
    run_dir = tmp_path_factory.mktemp("run")
    trainer = tiny_trainer(tiny_config("training.total_kimg=0.024"), [CheckpointHook(run_dir / "checkpoints", 100, 2)])
    trainer.run()
    return trainer, run_dir


def test_from_run_directory_and_from_file(trained: tuple[Trainer, Path]) -> None:
    trainer, run_dir = trained
    z = torch.randn(2, 8)
    by_run = load_generator(run_dir)
    by_file = load_generator(str(checkpoint_path(run_dir / "checkpoints", 3)))
    assert torch.equal(by_run(z, noise="fixed").images, by_file(z, noise="fixed").images)
    assert by_run.config == trainer.state.config.generator
    assert not by_run.training and not any(p.requires_grad for p in by_run.parameters())


def test_a_damaged_checkpoint_names_the_newest_whole_one(trained: tuple[Trainer, Path], tmp_path: Path) -> None:
    whole = checkpoint_path(trained[1] / "checkpoints", 3).read_bytes()
    for step, content in {1: whole, 2: whole, 3: whole[:-9], 4: whole[:500]}.items():
        checkpoint_path(tmp_path, step).write_bytes(content)
    damaged, good = checkpoint_path(tmp_path, 4), checkpoint_path(tmp_path, 2)
    for path in (tmp_path, damaged):
        with pytest.raises(InputError) as caught:
            load_generator(path)
        message = str(caught.value)
        assert message.startswith(f"{damaged}: not a readable checkpoint, truncated or damaged")
        assert message.endswith(f"; the newest good one beside it is {good}: give that one") and "\n" not in message
    load_generator(good)
    for step in (1, 2):
        checkpoint_path(tmp_path, step).unlink()
    with pytest.raises(InputError) as caught:
        load_generator(tmp_path)
    assert "beside it" not in str(caught.value)


def test_weights_are_the_averages(trained: tuple[Trainer, Path]) -> None:
    trainer, run_dir = trained
    loaded = load_generator(run_dir)
    for (name, found), average, online in zip(
        loaded.named_parameters(), trainer.system.average.module.parameters(), trainer.system.generator.parameters(),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(found, average), name
        if name.endswith("convolution.weight"):
            assert not torch.equal(found, online), name


def test_groups_are_the_argmax_of_the_averaged_logits(trained: tuple[Trainer, Path]) -> None:
    trainer, run_dir = trained
    output = load_generator(run_dir)(torch.randn(1, 8))
    for layer in trainer.system.average.module.grouped_layers():
        assert torch.equal(output.groups[layer.name], layer.grouping.logits.argmax(dim=1))


def test_mean_latent_is_of_the_averaged_mapping(trained: tuple[Trainer, Path]) -> None:
    _, run_dir = trained
    loaded = load_generator(run_dir)
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.mean_latent, loaded.mapping(z).mean(dim=0), rtol=1e-4, atol=1e-6)
    assert loaded.mean_latent.abs().max() > 0


def test_truncation(trained: tuple[Trainer, Path]) -> None:
    loaded = load_generator(trained[1])
    images = loaded(torch.randn(3, 8), truncation_psi=0.0, noise="fixed").images
    torch.testing.assert_close(images, images[:1].expand(3, -1, -1, -1))
    assert images.shape == (3, 3, 8, 8)
    assert loaded(torch.randn(3, 8), truncation_psi=0.7).images.isfinite().all()


def test_what_is_wrong_is_said_in_one_line(trained: tuple[Trainer, Path], tmp_path: Path) -> None:
    state = load_checkpoint(checkpoint_path(trained[1] / "checkpoints", 3))
    config = {**state["config"], "generator": {**state["config"]["generator"], "style_dim": 9}}

    def altered(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: change(v) if v.is_floating_point() else v for k, v in state["ema_generator"].items()}

    damaged = {
        "no-weights": ({k: v for k, v in state.items() if k != "ema_generator"}, "ema_generator"),
        "no-config": ({k: v for k, v in state.items() if k != "config"}, "config"),
        "other-shape": ({**state, "config": config}, "size mismatch"),
        "nan": ({**state, "ema_generator": altered(lambda w: w * torch.nan)}, "holds numbers that are not finite"),
        "whole": ({**state, "ema_generator": altered(lambda w: w.long())}, "must be floating-point numbers, got torch.int64"),
        "other-field": ({**state, "config": {"generator": {"colour": 3}}}, "colour"),
    }
    for name, (content, part) in damaged.items():
        path = tmp_path / f"{name}.pt"
        save_checkpoint(content, path)
        with pytest.raises(InputError) as caught:
            load_generator(path)
        assert part in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_generator(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        load_generator(tmp_path / "none")
