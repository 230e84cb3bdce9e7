"""A class-conditional run: trains, stops, goes on to the bit, is exported, evaluated, reported; its draws and bad inputs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import stopped_at
from torch import Tensor

from sarigan.config import load_config
from sarigan.data.loader import open_dataset
from sarigan.diagnosis import doctor
from sarigan.diagnosis.scaling import count_step
from sarigan.editing.factorization import style_matrix
from sarigan.editing.group_editing import latent_range, mix_halves
from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import LatentPath
from sarigan.errors import InputError
from sarigan.exporting.foreign_export import FORMATS
from sarigan.exporting.rounding import measure_rounding
from sarigan.exporting.safetensors_export import half_weights, load_exported, save_exported
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.files.run_record import read_run
from sarigan.layers.modulation.class_conditional_norm import batch_norms
from sarigan.layers.spectral_norm import spectral_modules
from sarigan.models.class_conditional_generator import ClassConditionalGenerator
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.systems.system import Shard
from sarigan.training.precision import Precision, resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Hook, Trainer
from sarigan.visualization.report.run_sections import write_report
from sarigan.visualization.samples import class_sheet

Build = Callable[..., Any]
CPU = torch.device("cpu")
VARIANTS = {
    "hierarchical": (),
    "tables": ("generator.class_dim=0", "generator.hierarchical=false", "generator.initialization=normal"),
    "running": ("generator.standing_batches=0", "objective.orthogonal_weight=0.0001"),
    "ada": ("training.augmentation.name=ada",),
    "rounds": ("training.accumulation_rounds=2", "data.balanced=true"),
    "bfloat16": ("training.precision=bfloat16",),
    "float16": ("training.precision=float16",),
    "float64": ("training.precision=float64",),
}


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested states differ in any bit or key."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys(), key=str)
        return [line for k in keys for line in differences(a.get(k, "absent"), b.get(k, "absent"), f"{where}/{k}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in differences(x, y, f"{where}/{i}")]
    return [] if type(a) is type(b) and a == b else [where]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, config: Build) -> Path:
    """The directory of a run of ten steps."""
    run_dir = tmp_path_factory.mktemp("run")
    train(config(), run_dir)
    return run_dir


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains(name: str, config: Build) -> None:
    full, _ = config(*VARIANTS[name], "training.total_kimg=0.016").open_data()
    state = TrainingState(full, resolve_precision(full.training))
    before = {n: [p.clone() for p in network.parameters()] for n, network in state.system.networks.items()}
    trainer = Trainer(state, open_dataset(full.data, 8))
    trainer.run()
    trainer.check_finite()
    assert trainer.nonfinite.total() == 0
    for network_name, network in state.system.networks.items():
        moved = [not torch.equal(a, b) for a, b in zip(before[network_name], network.parameters(), strict=True)]
        assert sum(moved) >= 0.8 * len(moved)  # attention's convolutions wait for its gate
    images = torch.cat([*state.system.sample_images(6, 4)])
    assert images.shape == (6, 3, 8, 8) and images.isfinite().all() and images.abs().max() <= 1


def test_the_generator_is_trained_in_every_second_step(config: Build) -> None:
    full, _ = config().open_data()
    trainer = Trainer(TrainingState(full, resolve_precision(full.training)), open_dataset(full.data, 8))
    system, seen = trainer.system, []
    before = [system.generator.synthesis.to_rgb.weight.clone()]

    class Watch(Hook):
        def after_step(self, trainer: Trainer) -> None:
            weight = trainer.system.generator.synthesis.to_rgb.weight.clone()
            seen.append(not torch.equal(before[0], weight))
            before[0] = weight

    trainer.hooks = [Watch()]
    trainer.run()
    assert seen == [True, False] * 5


def test_a_step_makes_one_power_iteration_and_a_forward_pass_none(config: Build) -> None:
    full, _ = config("generator.initialization=normal", "discriminator.initialization=normal").open_data()
    system = TrainingState(full, resolve_precision(full.training)).system
    system.generator(torch.randn(4, 8), labels=torch.tensor([0, 1, 2, 0]))
    for network in system.networks.values():
        norm, weight = next(spectral_modules(network))
        with torch.no_grad():
            weight.normal_()
        v = torch.nn.functional.normalize(weight.detach().flatten(start_dim=1).t() @ norm.u, dim=0)
        system.begin_step(0.0)
        torch.testing.assert_close(norm.v, v)
    average = system.average.module
    norm, weight = next(spectral_modules(average))
    v = torch.nn.functional.normalize(weight.detach().flatten(start_dim=1).t() @ norm.u, dim=0)
    system.average.update(1.0)
    torch.testing.assert_close(norm.v, v)


@pytest.mark.parametrize("name", ["hierarchical", "tables", "running", "ada", "rounds"])
def test_stopped_and_resumed_it_is_bit_identical(name: str, config: Build, tmp_path: Path) -> None:
    """Singular vectors, batch statistics and their averages included. More is saved and sampled on the way in one of them."""
    full = config(*VARIANTS[name])
    train(full, tmp_path / "whole")
    more = dataclasses.replace(full.training, checkpoint_kimg=0.016, sample_kimg=0.008)
    with stopped_at(5):
        stopped = train(dataclasses.replace(full, training=more), tmp_path / "parts")
        assert 4 < stopped.state.step < 10
    train(dataclasses.replace(full, training=more), tmp_path / "parts")
    files = [load_checkpoint(list_checkpoints(tmp_path / part / "checkpoints")[-1]) for part in ("whole", "parts")]
    for file in files:
        file.pop("seconds")
        file.pop("config")
    assert files[0]["step"] == 10 and differences(*files) == []
    names = set(files[0]["generator"])
    assert {"synthesis.start.spectral.u", "synthesis.last_norm.norm.running_mean"} <= names


def test_checkpoint_and_export_hold_the_same_generator(run: Path, tmp_path: Path) -> None:
    stored = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    assert stored["config"]["generator"]["class_names"] == ["boot", "coat", "hat"]
    generator = load_generator(run)
    assert isinstance(generator, ClassConditionalGenerator) and not generator.is_stale
    save_exported(generator, tmp_path / "export", {})
    again = load_exported(tmp_path / "export")
    assert again.config == generator.config
    z, labels = torch.randn(3, 8), torch.tensor([0, 1, 2])
    images = generator(z, labels=labels).images
    assert torch.equal(again(z, labels=labels).images, images)
    torch.testing.assert_close(again(z[1:2], labels=labels[1:2]).images, images[1:2], rtol=1e-4, atol=1e-5)
    for norm, name in zip(batch_norms(generator), [n for n in stored["ema_generator"] if n.endswith("test_mean")], strict=True):
        assert torch.equal(norm.test_mean, stored["ema_generator"][name])
    generator.set_test_statistics()
    torch.testing.assert_close(generator(z, labels=labels).images, images)
    save_exported(generator, tmp_path / "half", {}, half=True)
    assert (load_exported(tmp_path / "half")(z, labels=labels).images - images).abs().max() < 0.05
    assert 0 < measure_rounding(generator, half_weights(generator), 4).largest < 10
    text = (tmp_path / "export" / "generator.json").read_text()
    (tmp_path / "export" / "generator.json").write_text(text.replace('"class_conditional"', '"diffusion"'))
    with pytest.raises(InputError, match="kind must be one of style, class_conditional, got 'diffusion'"):
        load_exported(tmp_path / "export")


def test_onnx_equals_pytorch(run: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX graphs are run with onnxruntime")
    pytest.importorskip("onnx", reason="ONNX export needs the package onnx")
    from sarigan.exporting.onnx_export import export_onnx

    generator = load_generator(run)
    export_onnx(generator, tmp_path / "generator.onnx")
    session = runtime.InferenceSession(str(tmp_path / "generator.onnx"), providers=["CPUExecutionProvider"])
    z, labels = torch.randn(3, 8), torch.tensor([0, 1, 2])
    for psi in (1.0, 0.5):
        given = {"z": z.numpy(), "truncation_psi": np.array(psi, np.float32), "labels": labels.numpy()}
        (images,) = session.run(["images"], given)
        expected = generator(z, labels=labels, truncation_psi=psi).images
        torch.testing.assert_close(torch.from_numpy(images), expected, rtol=1e-3, atol=1e-4)


def test_images_of_classes_and_ways_between_them(run: Path) -> None:
    generator = load_generator(run)
    assert generator.class_index("hat") == 2
    with pytest.raises(InputError, match="class 'shoe' does not exist; the generator's classes are boot, coat, hat"):
        generator.class_index("shoe")
    assert class_sheet(generator, Sampling(), range(3)).width > 0
    sampling = Sampling(1.0, classes=("boot", "hat"))
    path = LatentPath(generator, [4, 4], 2, "w", labels=sampling.labels(generator, [4, 4]))
    ends = sampling.latents(generator, [4, 4])
    torch.testing.assert_close(path[0:4], torch.stack([ends[0], (ends[0] + ends[1]) / 2, ends[1], (ends[0] + ends[1]) / 2]))
    with pytest.raises(InputError, match="an interpolation in z stays in one class"):
        LatentPath(generator, [4, 4], 2, "z", labels=sampling.labels(generator, [4, 4]))


def test_what_it_does_not_have_is_refused_in_one_line(run: Path) -> None:
    generator = load_generator(run)
    latents = Sampling().latents(generator, [0, 1])
    with pytest.raises(InputError, match="directions are of StyleGAN2 and SariGAN alone"):
        style_matrix(generator)
    with pytest.raises(InputError, match="this generator has no groups .*, so its w has no halves to mix"):
        mix_halves(generator, latents, latents, "h")
    for write in FORMATS.values():
        with pytest.raises(InputError, match="a class_conditional generator, which that code does not have"):
            write(generator, generator, None, DiscriminatorConfig())
    assert [*latent_range(generator, "coarse"), *latent_range(generator, "0-1")] == [0, 0, 1]


def test_evaluated_and_reported(config: Build, tmp_path: Path) -> None:
    metrics = ("metrics.names=[class_fd_efficientnet,kid_efficientnet]", "metrics.num_images=20", "metrics.interval_kimg=100")
    train(config(*metrics, "training.total_kimg=0.016"), tmp_path)
    record = read_run(tmp_path)
    assert len(record.series("metrics/class_fd_efficientnet")) == 2  # before the first step and at the end
    system, loaded = load_system(tmp_path)
    write_report(record, loaded.method(), loaded.resolution, system, "checkpoint", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "From class to class" in page and "Images of every class" in page and "Hinge losses" in page


def test_statistics_are_new_after_every_step(config: Build) -> None:
    """What an evaluation was given before a step is judged with the statistics of the weights after it."""
    full, _ = config("training.total_kimg=0.008").open_data()
    state = TrainingState(full, resolve_precision(full.training))
    judged = state.system.evaluation_inputs()["generator"]
    z, labels = torch.randn(2, 8), torch.tensor([0, 1])
    judged(z, labels=labels)
    assert not judged.is_stale
    Trainer(state, open_dataset(full.data, 8)).run()
    assert judged.is_stale
    images = judged(z, labels=labels).images
    before = [norm.test_mean.clone() for norm in batch_norms(judged)]
    judged.set_test_statistics()
    assert all(map(torch.equal, before, [norm.test_mean for norm in batch_norms(judged)]))
    assert torch.equal(judged(z, labels=labels).images, images)


def test_draws_are_functions_of_their_key(config: Build) -> None:
    full, _ = config().open_data()
    draw = TrainingState(full, resolve_precision(full.training)).system.randomness.draw
    draws = draw("generator", 3, 4000)
    assert torch.equal(draws.z, draw("generator", 3, 4000).z) and torch.equal(draws.labels, draw("generator", 3, 4000).labels)
    for other in (("generator", 4, 4000), ("discriminator", 3, 4000), ("generator", 3, 4000, 1)):
        assert not torch.equal(draws.labels, draw(*other).labels) and not torch.equal(draws.z, draw(*other).z)
    shares = torch.bincount(draws.labels) / 4000
    assert (shares - torch.tensor([0.3, 0.5, 0.2])).abs().max() < 0.032  # 4 standard deviations
    assert torch.equal(draws.shard(1, 3).labels, draws.labels[1::3])


def test_the_discriminator_sees_each_image_with_its_own_label(config: Build) -> None:
    full, dataset = config().open_data()
    system = TrainingState(full, resolve_precision(full.training)).system
    seen: list[tuple[Tensor, Tensor]] = []
    system.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    batch = system.example_batch(4, CPU, torch.float32)
    batch.labels = torch.tensor([2, 0, 1, 1])
    batch.images = torch.from_numpy(np.stack([dataset[index] for index in (19, 0, 8, 9)])) / 127.5 - 1
    draws = system.randomness.draw("discriminator", 0, 4)
    loss, _ = system.objective.discriminator_phase(Shard(batch, draws))
    system.objective.generator_phase(Shard(None, draws))
    (both, both_labels), (_, fake_labels) = seen
    assert torch.equal(both_labels, torch.cat([draws.labels, batch.labels])) and torch.equal(fake_labels, draws.labels)
    assert torch.equal(both[4:], batch.images)
    logits = system.discriminator(both, both_labels)
    torch.testing.assert_close(loss, (1 + logits[:4]).relu().mean() + (1 - logits[4:]).relu().mean())


def test_the_doctor_and_the_counts_know_the_system(config: Build) -> None:
    full = config("metrics.names=[class_fd_efficientnet]")
    assert [finding.verdict for finding in (*doctor.dry_run(full), *doctor.metrics(full))] == ["ok", "ok"]
    opened, _ = full.open_data()
    count = count_step(opened)
    assert set(count.phases) == {"discriminator", "generator"} and count.phases["generator"].interval == 2
    state = TrainingState(full, Precision(torch.device("meta"), "float32"))  # the data are not there
    report = dry_run_report(full, state, "missing")
    assert "classes: unknown until the data are there" in report and "classes: unknown" not in str(
        TrainingState(opened, resolve_precision(opened.training)).system.notes()
    )


def test_bad_inputs(config: Build, run: Path, tmp_path: Path) -> None:
    for overrides, message in (
        (
            ("data.labels=null",),
            "data.labels must say what the classes of the images are for system: class_conditional, got null",
        ),
        (("training.cpu_processes=2",), "training.cpu_processes must be 1 for system: class_conditional"),
        (("objective.discriminator_steps=0",), "objective.discriminator_steps must be at least 1, got 0"),
        (("objective.orthogonal_weight=-1",), "objective.orthogonal_weight must not be negative, got -1"),
        (("optimizer.beta1=1",), r"optimizer.beta1 must be in \[0, 1\), got 1"),
        (("optimizer.generator_learning_rate=0",), "optimizer.generator_learning_rate must be positive, got 0"),
        (("discriminator.attention_resolution=8",), "discriminator.attention_resolution must be 0"),
        (("generator.class_names=[a,b]", "generator.class_shares=[0.5,0.5]"), None),
    ):
        if message is None:
            with pytest.raises(InputError, match="generator.class_names names 2 classes, the data have 3"):
                config(*overrides).open_data()
        else:
            with pytest.raises(InputError, match=message):
                config(*overrides)
    with pytest.raises(InputError, match="data.labels must say what the classes of the images are"):
        load_config(run / "config.yaml", ["data.labels=null"])
    for name, count in (("boot", 5), ("coat", 5)):
        (tmp_path / name).mkdir()
        for index in range(count):
            (tmp_path / name / f"{index}.png").write_bytes((Path(config().data.path) / "boot" / f"{index}.png").read_bytes())
    with pytest.raises(InputError, match=r"was trained with 3 classes, the data have 2; the data lack 'hat'"):
        train(config(f"data.path={tmp_path}"), run)
    with pytest.raises(InputError, match="another architecture; it differs in generator.channels"):
        train(config("generator.channels=16"), run)
    for file in (tmp_path / "boot").glob("[1-9].png"):
        file.unlink()
    with pytest.raises(InputError, match="class 'boot' of data.labels=folders has 1 image; a class needs at least 2"):
        config(f"data.path={tmp_path}").open_data()
