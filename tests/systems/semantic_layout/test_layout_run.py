"""Semantic layouts are trained as any system: resumed to the bit, the same on two ranks, sampled, evaluated, described."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_tools import ROOT, run_ranks
from stopped_runs import stopped_at, stored_weights

from sarigan.config import load_config
from sarigan.diagnosis.doctor import dry_run
from sarigan.diagnosis.scaling import count_step
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints
from sarigan.files.run_record import read_run
from sarigan.layers.modulation.spade import WeightlessNorm
from sarigan.layers.spectral_norm import SpectralConv2d
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.training.batch_plan import plan_batch
from sarigan.visualization.layout_sheet import layout_images, palette
from sarigan.visualization.report.run_sections import write_report

Build = Callable[..., Any]
JOBS = ROOT / "tests" / "training" / "process_group_jobs.py"


@pytest.mark.parametrize("style", ["encoder", "noise"])
def test_a_resumed_run_is_bit_identical(style: str, layout_config: Build, tmp_path: Path) -> None:
    config = layout_config(f"generator.style={style}", "data.load_resolution=30")
    train(config, tmp_path / "whole")
    with stopped_at(5):
        assert 5 <= train(config, tmp_path / "parts").state.step < 10
    train(config, tmp_path / "parts")
    whole, parts = stored_weights(tmp_path / "whole", 10), stored_weights(tmp_path / "parts", 10)
    assert [name for name, value in whole.items() if not torch.equal(value, parts[name])] == []
    convs = [n for n in whole if n.startswith("generator.") and n.endswith("conv0.weight")]
    assert convs and all(not torch.equal(whole[n], whole[f"ema_{n}"]) for n in convs)
    with pytest.raises(InputError, match=r"another architecture; it differs in data.num_classes \(4 there, 6 here\)"):
        train(layout_config(f"generator.style={style}", "data.num_classes=6"), tmp_path / "parts")
    with pytest.raises(InputError, match="holds a system 'semantic_layout'; this needs a style-based generator"):
        load_generator(tmp_path / "whole")


def test_the_average_has_statistics_of_its_own(layout_config: Build, tmp_path: Path) -> None:
    """Means and variances of the averaged weights, singular vectors that fit them, the same whenever they are asked for."""
    trainer = train(layout_config(), tmp_path)
    system, (stored, _) = trainer.system, load_system(tmp_path)
    for one, two in zip(system.average.module.state_dict().values(), stored.average.module.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    average = stored.average.module
    convs = [m for m in average.modules() if isinstance(m, SpectralConv2d)]
    for conv in convs:
        largest = torch.linalg.svdvals(conv.spectral(conv.weight).flatten(start_dim=1))[0]
        assert float(largest) == pytest.approx(1, abs=0.1)
    norms = [m for m in average.modules() if isinstance(m, WeightlessNorm)]
    assert all(not torch.equal(m.variance, torch.ones_like(m.variance)) for m in norms)
    # As many layouts as are measured at once: in evaluation mode they look as in training mode.
    ((batch, z),) = list(stored._statistics_inputs())
    layout = stored.channels.of(batch)
    evaluated = average(layout, z, batch.images).images
    assert torch.allclose(average.train()(layout, z, batch.images).images, evaluated, atol=0.1)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    stored._average_is_stale = True
    average.eval()
    stored.refresh_average()
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


@pytest.mark.parametrize("norm", ["synchronised", "instance"])
def test_two_processes_equal_one(norm: str, layout_config: Build, tmp_path: Path) -> None:
    """Ten steps in float64. Synchronised norm sees the batch of all ranks; instance norm also allows rounds."""
    settings = (f"generator.norm={norm}", "training.precision=float64")
    files = {"one": (), "ranks": ()} | ({"rounds": ("training.accumulation_rounds=2",)} if norm == "instance" else {})
    for name, more in files.items():
        (tmp_path / f"{name}.yaml").write_text(layout_config(*settings, *more).to_yaml())
        job = {"run_dir": str(tmp_path / name), "configs": [str(tmp_path / f"{name}.yaml")], "unlike_gradients": False}
        (tmp_path / f"{name}.json").write_text(json.dumps([job]))
        num_ranks = 2 if name == "ranks" else 1
        for ended in run_ranks(tmp_path / f"{name}-output", *[[JOBS, tmp_path / f"{name}.json"]] * num_ranks):
            assert ended.code == 0, ended.errors
    expected = stored_weights(tmp_path / "one", 10)
    for name in files:
        found = stored_weights(tmp_path / name, 10)
        for key, value in expected.items():
            if key.startswith("generator.") and key.endswith((".mean", ".variance")):
                continue  # of the trained network, which has none
            assert (found[key] - value).abs().max() <= 1e-7 * value.abs().max().clamp_min(1), (name, key)


def test_phases_scalars_and_description(layout_config: Build, tmp_path: Path) -> None:
    config = layout_config("objective.perceptual_network=efficientnet")
    trainer = train(config, tmp_path)
    assert [phase.name for phase in trainer.phases] == ["generator", "discriminator"]
    run = read_run(tmp_path)
    for key in ("discriminator", "generator", "feature_matching", "perceptual", "kl"):
        assert run.series(f"loss/{key}"), key
    report = dry_run_report(config, trainer.state, "data")
    assert "encoder" in report and "24x16 px, 6 channels of a layout" in report
    counted = count_step(config)
    assert counted.phases.keys() == {"generator", "discriminator"}
    assert counted.flops_per_image > count_step(layout_config()).flops_per_image > 0
    assert load_config(tmp_path / "config.yaml") == config
    assert config.tiny().resolution == 8 and config.method() == "SPADE, batch norm, style of an image encoder"
    assert [finding.verdict for finding in dry_run(config)] == ["ok"]


def test_samples_sheets_and_report(layout_config: Build, tmp_path: Path) -> None:
    train(layout_config("held_out.num_images=5"), tmp_path / "run")
    system, _ = load_system(tmp_path / "run")
    images = torch.cat(list(system.sample_images(8, 3)))
    assert images.shape == (8, 3, 16, 24)
    assert torch.allclose(images, torch.cat(list(system.sample_images(8, 1))), atol=1e-5)
    held_out = system.synthesized.held_out
    assert len(held_out) == 5
    batch = held_out.batch([0, 1])
    assert torch.equal(images[::4], layout_images(batch.layout))
    assert torch.allclose(images[3::4], batch.images / 127.5 - 1)
    assert not torch.allclose(images[1], images[2], atol=1e-6)  # two styles
    assert torch.allclose(torch.cat(list(system.generated_images(2, 1))), images[1::4], atol=1e-5)
    size = write_report(read_run(tmp_path / "run"), "method", 24, system, "checkpoint", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert size == len(page.encode()) and "Images of held-out layouts" in page and "Styles of reference images" in page
    samples = system.evaluation_inputs()["samples"]
    (made,) = samples.batches([[1, 0]], torch.device("cpu"))
    assert torch.allclose(made[1], images[1], atol=1e-6)


def test_colours_of_layouts() -> None:
    assert len(np.unique(palette(40), axis=0)) == 40 and palette(3).dtype == np.uint8


def test_evaluated_while_it_trains(layout_config: Build, tmp_path: Path) -> None:
    metrics = ("metrics.names=[kid_efficientnet]", "metrics.num_images=24", "metrics.interval_kimg=100")
    train(layout_config(*metrics), tmp_path)
    assert len(read_run(tmp_path).series("metrics/kid_efficientnet")) == 2


def test_the_network_of_the_perceptual_loss_is_refused_before_the_first_step(layout_config: Build, tmp_path: Path) -> None:
    metrics = ("metrics.names=[fd_efficientnet]", "objective.perceptual_network=efficientnet")
    with pytest.raises(InputError, match="efficientnet took part in the training of this model"):
        train(layout_config(*metrics), tmp_path / "run")
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")


def test_only_a_cut_that_changes_the_statistics_is_warned_of(layout_config: Build) -> None:
    for norm, rounds, warned in (
        ("batch", 1, True), ("synchronised", 1, False), ("synchronised", 2, True), ("instance", 2, False),
    ):  # fmt: skip
        config = layout_config(f"generator.norm={norm}", f"training.accumulation_rounds={rounds}")
        assert (config.batch_warning(plan_batch(config.training, 2)) is not None) == warned, norm


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(precision: str, layout_config: Build, tmp_path: Path) -> None:
    for name in ("float32", precision):
        trainer = train(layout_config(f"training.precision={name}"), tmp_path / name)
        assert trainer.nonfinite.total() == 0
    for key in ("loss/discriminator", "loss/feature_matching"):
        one, two = (read_run(tmp_path / name).series(key)[-1][1] for name in ("float32", precision))
        assert two == pytest.approx(one, rel=0.1)


def test_processes_of_one_cpu_share_the_batch(layout_config: Build, tmp_path: Path) -> None:
    settings = ("training.precision=float64", "training.total_kimg=0.024", "generator.norm=instance")
    trained = [
        train(layout_config(*settings, f"training.cpu_processes={count}"), tmp_path / str(count)).system.generator
        for count in (1, 2)
    ]
    for one, two in zip(*(generator.parameters() for generator in trained), strict=True):
        assert (one - two).abs().max() <= 1e-9 * one.abs().max().clamp_min(1)


def test_rates_fall(layout_config: Build, tmp_path: Path) -> None:
    trainer = train(layout_config("optimizer.decay_kimg=[0,0.1]"), tmp_path)
    rates = [trainer.system.optimizers[name].param_groups[0]["lr"] for name in trainer.system.rates]
    assert all(rate == pytest.approx(0.28 * start) for rate, start in zip(rates, trainer.system.rates.values(), strict=True))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.augmentation.name=ada", "training.augmentation.name must be none"),
        ("generator.norm=layer", "generator.norm must be one of batch, synchronised, instance, none"),
        ("generator.style=z", "generator.style must be one of none, encoder, noise"),
        ("generator.num_upsamples=4", r"generator.resolution must be a multiple of 2\^num_upsamples = 16, got 24"),
        ("generator.num_upsamples=8", "generator.num_upsamples must be at most 7, got 8"),
        ("generator.spade_kernel=2", "generator.spade_kernel must be 1, 3, 5 or 7, got 2"),
        ("generator.encoder_size=20", "generator.encoder_size must be a power of two from 8, got 20"),
        ("objective.kl_weight=-1", "objective.kl_weight must not be negative"),
        ("objective.perceptual_network=vgg19", "objective.perceptual_network must be one of efficientnet, vgg16, none"),
        ("optimizer.decay_kimg=[5,2]", r"optimizer.decay_kimg must be \[start, end\]"),
        ("discriminator.num_scales=0", "discriminator.num_scales must be at least 1"),
        ("held_out.num_images=0", "held_out.num_images must be at least 1"),
        ("statistics_images=0", "statistics_images must be at least 1"),
    ],
)
def test_settings_that_do_not_fit(override: str, message: str, layout_config: Build) -> None:
    with pytest.raises(InputError, match=message):
        layout_config(override)
