"""Inpainting is trained as any system: resumed to the bit, the same on two ranks, sampled, evaluated, described."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import ROOT, run_ranks
from stopped_runs import stopped_at, stored_weights

from sarigan.config import load_config
from sarigan.data.mask_files import prepare
from sarigan.data.masks import MaskConfig, MaskSource
from sarigan.diagnosis.scaling import count_step
from sarigan.errors import InputError
from sarigan.files.run_record import read_run
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.visualization.report.run_sections import write_report

Build = Callable[..., Any]
JOBS = ROOT / "tests" / "training" / "process_group_jobs.py"


@pytest.mark.parametrize("kind", ["similarity", "none"])
def test_a_resumed_run_is_bit_identical(kind: str, inpainting_config: Build, tmp_path: Path) -> None:
    overrides = [f"generator.grouping.kind={kind}"] + ["objective.information_weight=0"] * (kind == "none")
    config = inpainting_config(*overrides)
    train(config, tmp_path / "whole")
    with stopped_at(5):
        assert 5 <= train(config, tmp_path / "parts").state.step < 10
    train(config, tmp_path / "parts")
    whole, parts = stored_weights(tmp_path / "whole", 10), stored_weights(tmp_path / "parts", 10)
    assert [name for name, value in whole.items() if not torch.equal(value, parts[name])] == []
    averaged = [name for name, _ in load_system(tmp_path / "whole")[0].generator.named_parameters()]
    assert all(not torch.equal(whole[f"generator.{n}"], whole[f"ema_generator.{n}"]) for n in averaged if "conv" in n)
    with pytest.raises(InputError, match=r"another architecture; it differs in encoder.global_dim \(12 there, 16 here\)"):
        train(inpainting_config(*overrides, "encoder.global_dim=16"), tmp_path / "parts")
    with pytest.raises(InputError, match="holds a system 'inpainting'; this needs a style-based generator"):
        load_generator(tmp_path / "whole")


def test_two_processes_and_two_rounds_equal_one(inpainting_config: Build, tmp_path: Path) -> None:
    """Ten steps of every phase, float64: masks, dropout, latents and noise follow the position in the batch."""
    config = inpainting_config("training.precision=float64")
    rounds = inpainting_config("training.precision=float64", "training.accumulation_rounds=2")
    files = {"one": tmp_path / "one.yaml", "ranks": tmp_path / "ranks.yaml", "rounds": tmp_path / "rounds.yaml"}
    for name, file in files.items():
        file.write_text((rounds if name == "rounds" else config).to_yaml())
    for name, num_ranks in (("one", 1), ("ranks", 2), ("rounds", 1)):
        job = {"run_dir": str(tmp_path / name), "configs": [str(files[name])], "unlike_gradients": False}
        (tmp_path / f"{name}.json").write_text(json.dumps([job]))
        for ended in run_ranks(tmp_path / f"{name}-output", *[[JOBS, tmp_path / f"{name}.json"]] * num_ranks):
            assert ended.code == 0, ended.errors
    expected = stored_weights(tmp_path / "one", 10)
    for name in ("ranks", "rounds"):
        found = stored_weights(tmp_path / name, 10)
        for key, value in expected.items():
            assert (found[key] - value).abs().max() <= 1e-9 * value.abs().max().clamp_min(1), (name, key)


def test_phases_scalars_and_description(inpainting_config: Build, tmp_path: Path) -> None:
    config = inpainting_config()
    trainer = train(config, tmp_path)
    assert [phase.name for phase in trainer.phases] == ["discriminator", "r1", "generator", "grouping"]
    run = read_run(tmp_path)
    for key in ("loss/discriminator", "loss/generator", "loss/hole_l1", "loss/r1", "loss/grouping_mse"):
        assert run.series(key), key
    report = dry_run_report(config, trainer.state, "data")
    assert "encoder" in report and "global_dim: 12" in report and "groups of 16x16.conv" in report
    counted = count_step(config)
    assert counted.phases.keys() == {"discriminator", "r1", "generator"} and counted.flops_per_image > 0
    assert load_config(tmp_path / "config.yaml") == config
    assert config.tiny().resolution == 8 and config.method() == "inpainting by SariGAN, similarity groups"
    with Image.open(sorted((tmp_path / "samples").glob("*.png"))[-1]) as grid:
        assert grid.width == grid.height  # two pairs


def test_samples_are_pairs_of_held_out_images(inpainting_config: Build, tmp_path: Path, png_folder: Path) -> None:
    names = [f"{index:03d}.png" for index in range(24)]
    prepare(tmp_path / "masks", names, MaskSource(MaskConfig("center"), 16, 0))
    config = inpainting_config(f"held_out.path={png_folder}", f"held_out.masks={tmp_path / 'masks'}")
    trainer = train(config, tmp_path / "run")
    system, _ = load_system(tmp_path / "run")
    images = torch.cat(list(system.sample_images(7, 2)))
    assert images.shape == (6, 3, 16, 16)
    assert torch.allclose(images, torch.cat(list(system.sample_images(7, 3))), atol=1e-5)
    assert (images[::2, :, 4:12, 4:12] == 0).all()
    pixels = to_uint8(images)
    for index in range(3):
        with Image.open(png_folder / names[index]) as picture:
            original = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        outside = torch.ones(16, 16, dtype=torch.bool)
        outside[4:12, 4:12] = False
        assert torch.equal(pixels[2 * index + 1][:, outside], original[:, outside])
        assert not torch.equal(pixels[2 * index + 1][:, ~outside], original[:, ~outside])
    assert torch.equal(torch.cat(list(trainer.system.sample_images(7, 2))), images)
    made = torch.cat(list(system.generated_images(3, 2)))  # without what stands beside them
    assert torch.allclose(made, images[1::2], atol=1e-5)
    size = write_report(read_run(tmp_path / "run"), "method", 16, system, "checkpoint", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert size == len(page.encode()) and "Completions of held-out images" in page and "error in the hole" in page
    samples = system.evaluation_inputs()["samples"]
    (batch,) = samples.batches([[5, 0]], torch.device("cpu"))
    assert len(samples) == 24 and torch.allclose(batch[1], images[1], atol=1e-6)


def test_evaluated_while_it_trains(inpainting_config: Build, tmp_path: Path) -> None:
    metrics = ("metrics.names=[kid_efficientnet]", "metrics.num_images=24", "metrics.interval_kimg=100")
    train(inpainting_config(*metrics), tmp_path)
    assert len(read_run(tmp_path).series("metrics/kid_efficientnet")) == 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(precision: str, inpainting_config: Build, tmp_path: Path) -> None:
    trained = [
        train(inpainting_config(f"training.precision={name}"), tmp_path / name).system.log_values({}) is not None
        for name in ("float32", precision)
    ]
    one, two = (read_run(tmp_path / name).series("loss/hole_l1")[-1][1] for name in ("float32", precision))
    assert all(trained) and two == pytest.approx(one, rel=0.1)


def test_processes_of_one_cpu_share_the_batch(inpainting_config: Build, tmp_path: Path) -> None:
    settings = ("training.precision=float64", "training.total_kimg=0.024")
    trained = [
        train(inpainting_config(*settings, f"training.cpu_processes={count}"), tmp_path / str(count)).system.generator
        for count in (1, 2)
    ]
    for one, two in zip(*(generator.parameters() for generator in trained), strict=True):
        assert (one - two).abs().max() <= 1e-9 * one.abs().max().clamp_min(1)


def test_augmentation_of_appearance_alone(inpainting_config: Build, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training.augmentation"):
        inpainting_config("training.augmentation.name=ada")
    config = inpainting_config("training.augmentation.name=diffaugment", "training.augmentation.transforms=[color]")
    plain, augmented = train(inpainting_config(), tmp_path / "plain"), train(config, tmp_path / "augmented")
    one, two = (next(t.system.discriminator.parameters()) for t in (plain, augmented))
    assert augmented.state.step == 10 and not torch.equal(one, two)


def test_rates_fall(inpainting_config: Build, tmp_path: Path) -> None:
    trainer = train(inpainting_config("optimizer.decay_kimg=[0,0.1]"), tmp_path)
    rates = [trainer.system.optimizers[name].param_groups[0]["lr"] for name in trainer.system.rates]
    assert all(0 < rate < start / 2 for rate, start in zip(rates, trainer.system.rates.values(), strict=True))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.path_length_weight=2", "objective.path_length_weight must be 0 for inpainting, got 2"),
        ("objective.information_target=codes", "objective.information_target must be w for inpainting"),
        ("objective.l1_weight=-1", "objective.l1_weight must not be negative"),
        ("generator.synthesis=adain", "generator"),
        ("encoder.dropout=1", r"encoder.dropout must be in \[0, 1\), got 1"),
        ("encoder.global_dim=0", "encoder.global_dim must be at least 1"),
        ("encoder.grouped_kernels=encoder", "encoder.grouped_kernels must be one of both, up"),
        ("held_out.masks=x", "held_out.path must name the images of held_out.masks='x', got null"),
        ("held_out.white=grey", "held_out.white must be one of auto, hole, known"),
        ("data.mask.kind=none", "data.mask.kind must be one of center"),
    ],
)
def test_settings_that_do_not_fit(override: str, message: str, inpainting_config: Build) -> None:
    with pytest.raises(InputError, match=message):
        inpainting_config(override)


def test_held_out_images_that_cannot_be_used(inpainting_config: Build, tmp_path: Path, png_folder: Path) -> None:
    prepare(tmp_path / "masks", [f"{index:03d}" for index in range(23)], MaskSource(MaskConfig("center"), 16, 0))
    config = inpainting_config(f"held_out.path={png_folder}", f"held_out.masks={tmp_path / 'masks'}")
    with pytest.raises(InputError, match=r"has no mask 023.png for image 023.png \(1 of 24 images have none\)"):
        train(config, tmp_path / "run")
    with pytest.raises(InputError, match="no such file or folder"):
        train(inpainting_config("held_out.path=/nowhere"), tmp_path / "other")
    with pytest.raises(InputError, match="mask"):
        load_config(None, ["data.mask.kind=box"])  # the style system draws no masks
