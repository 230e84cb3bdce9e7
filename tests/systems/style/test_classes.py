"""Class-conditional training of every style system: labels reach both networks, draws follow their key, runs go on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.config import Config, load_config
from sarigan.data.loader import open_dataset
from sarigan.diagnosis import doctor
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import load_exported, save_exported
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.resume import resume_summary
from sarigan.runs.run import train
from sarigan.systems.style.draws import StyleDraws
from sarigan.systems.system import Shard
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]
COUNTS = {"boot": 6, "coat": 10, "hat": 4}
METHODS = {
    "sarigan": (),
    "activation": ("generator.form=activation",),
    "halves": ("objective.mixing_kind=halves", "training.augmentation.name=ada"),
    "codes": ("objective.information_target=codes",),
    "stylegan2": ("generator.grouping.kind=none", "objective.information_weight=0"),
    "stylegan": ("generator.grouping.kind=none", "generator.synthesis=adain", "objective.path_length_weight=0"),
    "random": ("generator.grouping.kind=random",),
    "contiguous": ("generator.grouping.kind=contiguous",),
    "block_diagonal": ("generator.grouping.kind=block_diagonal",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8x8 images of three classes, each of a colour of its own with noise."""
    root = tmp_path_factory.mktemp("set")
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir()
        for index in range(count):
            pixels = random.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[..., label] += 180
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def config(tiny_config: Build, folder: Path) -> Callable[..., Config]:
    """config(overrides...): a tiny run on the classes, without what the data decide."""

    def build(*overrides: str) -> Config:
        return tiny_config("data.name=folder", f"data.path={folder}", "data.labels=folders", *overrides)

    return build


def opened(config: Config) -> Config:
    return config.open_data()[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_classes(method: str, config: Build, tiny_state: Build) -> None:
    full = opened(config(*METHODS[method], "training.total_kimg=0.016"))
    trainer = Trainer(tiny_state(full), open_dataset(full.data, 8))
    system = trainer.system
    before = [network.mapping.embedding.weight.clone() for network in (system.generator,)]
    before.append(system.discriminator.label_mapping.embedding.weight.clone())
    trainer.run()
    trainer.check_finite()
    after = (system.generator.mapping.embedding.weight, system.discriminator.label_mapping.embedding.weight)
    assert all((a - b).abs().min() > 0 for a, b in zip(before, after, strict=True))  # every class has learnt
    assert trainer.state.config.class_names == [*COUNTS]


def test_labels_are_functions_of_the_key_and_change_no_other_draw(config: Build, tiny_config: Build, tiny_state: Build) -> None:
    draw = tiny_state(opened(config())).system.randomness.draw
    plain = tiny_state(tiny_config()).system.randomness.draw("generator", 3, 4000, image_noise=True)
    draws: StyleDraws = draw("generator", 3, 4000, image_noise=True)
    assert plain.labels is None and draws.labels is not None
    assert torch.equal(plain.z, draws.z) and all(map(torch.equal, plain.noise, draws.noise))
    assert torch.equal(draws.labels, draw("generator", 3, 4000).labels)
    for other in (("generator", 4, 4000), ("discriminator", 3, 4000), ("generator", 3, 4000, 1)):
        assert not torch.equal(draws.labels, draw(*other).labels)
    shares = torch.bincount(draws.labels) / 4000
    assert (shares - torch.tensor([0.3, 0.5, 0.2])).abs().max() < 0.032  # 4 standard deviations
    for index in range(3):
        assert torch.equal(draws.shard(index, 3).labels, draws.labels[index::3])
    balanced = opened(config("data.balanced=true"))
    assert balanced.generator.class_shares == pytest.approx([1 / 3] * 3)


def test_the_discriminator_sees_each_image_with_its_own_label(config: Build, tiny_state: Build) -> None:
    full = opened(config())
    system = tiny_state(full).system
    seen = []
    system.replicas["discriminator"].register_forward_pre_hook(
        lambda module, arguments, options: seen.append((arguments[0], options["labels"])), with_kwargs=True
    )
    dataset = open_dataset(full.data, 8)
    batch = system.example_batch(4, torch.device("cpu"), torch.float32)
    batch.labels = torch.tensor([2, 0, 1, 1])
    batch.images = torch.from_numpy(np.stack([dataset[index] for index in (19, 0, 8, 9)])) / 127.5 - 1
    draws = system.randomness.draw("discriminator", 0, 4)
    system.objective.discriminator_phase(Shard(batch, draws))
    system.objective.r1_phase(Shard(batch, None))
    system.objective.generator_phase(Shard(None, draws))
    (both, both_labels), (real, real_labels), (fake, fake_labels) = seen
    assert torch.equal(both_labels, torch.cat([draws.labels, batch.labels])) and torch.equal(fake_labels, draws.labels)
    assert torch.equal(both[4:], batch.images) and torch.equal(real_labels, batch.labels) and torch.equal(real, batch.images)
    colours = [int(image.mean(dim=(1, 2)).argmax()) for image in real]
    assert colours == real_labels.tolist()
    torch.testing.assert_close(both[:4], fake)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Build, folder: Path) -> Path:
    """The directory of a run of four steps."""
    run_dir = tmp_path_factory.mktemp("run")
    settings = ("data.name=folder", f"data.path={folder}", "data.labels=folders", "training.total_kimg=0.032")
    train(tiny_config(*settings), run_dir)
    return run_dir


def test_names_of_classes_are_kept(run: Path, tmp_path: Path) -> None:
    stored = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])["config"]
    assert stored["generator"]["class_names"] == [*COUNTS]
    assert load_config(run / "config.yaml").class_names == [*COUNTS]
    generator = load_generator(run)
    save_exported(generator, tmp_path / "export", {})
    again = load_exported(tmp_path / "export")
    assert again.config == generator.config and again.config.class_names == [*COUNTS]
    z, labels = torch.randn(3, 8), torch.tensor([0, 1, 2])
    assert torch.equal(again(z, labels=labels, noise="none").images, generator(z, labels=labels, noise="none").images)
    system, _ = load_system(run)
    images = torch.cat([*system.sample_images(6, 4)])
    assert images.shape == (6, 3, 8, 8)


@pytest.mark.parametrize("balanced", ["true", "false"])
def test_two_and_two_steps_are_four(balanced: str, config: Build, tmp_path: Path) -> None:
    full = config(f"data.balanced={balanced}", "training.total_kimg=0.032", "training.checkpoint_kimg=0.016")
    half = dataclasses.replace(full, training=dataclasses.replace(full.training, total_kimg=0.016))
    whole = train(full, tmp_path / "whole").state.state_dict()
    train(half, tmp_path / "parts")
    parts = train(full, tmp_path / "parts").state.state_dict()
    assert whole["step"] == parts["step"] == 4
    for name in ("generator", "discriminator", "ema_generator"):
        assert all(torch.equal(value, parts[name][key]) for key, value in whole[name].items())


def test_a_run_goes_on_with_its_own_classes_only(
    run: Path, config: Build, tiny_config: Build, folder: Path, tmp_path: Path
) -> None:
    where = ("data.name=folder", f"data.path={folder}")
    assert resume_summary(config(), run) is not None
    assert resume_summary(load_config(run / "config.yaml"), run) is not None
    unlabelled = tiny_config(*where)
    with pytest.raises(InputError, match=r"was trained with 3 classes, here data.labels=null; data.labels=folders goes on$"):
        train(unlabelled, run)
    with pytest.raises(InputError, match=r"was trained with 3 classes, here data.labels=null"):
        resume_summary(unlabelled, run)
    for index, name in enumerate(["boot", "coat"] * 10):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / f"{index}.png")
    fewer = tiny_config("data.name=folder", f"data.path={tmp_path}", "data.labels=folders")
    with pytest.raises(InputError, match=r"was trained with 3 classes, the data have 2; the data lack 'hat'; a run goes on"):
        train(fewer, run)
    with pytest.raises(InputError, match=r"generator.class_names names 3 classes, the data have 2; the data lack 'hat'"):
        load_config(run / "config.yaml", [f"data.path={tmp_path}"]).open_data()
    with pytest.raises(InputError, match=r"generator.class_names are those of data.labels, got data.labels=null"):
        load_config(run / "config.yaml", ["data.labels=null"])
    train(tiny_config(*where, "training.total_kimg=0.008"), tmp_path / "run")
    with pytest.raises(InputError, match=r"was trained without classes, here data.labels=folders; another --run-dir starts"):
        train(config(), tmp_path / "run")


@pytest.mark.parametrize("settings", [(), ("data.balanced=true", "metrics.names=[class_fd_efficientnet]")])
def test_the_doctor_tries_the_classes_of_the_data(settings: tuple[str, ...], config: Build) -> None:
    full = config(*settings)
    state = doctor.tiny_state(full)
    assert state.config.class_names == [*COUNTS] and state.system.generator.mapping.embedding is not None
    assert [finding.verdict for finding in (*doctor.dry_run(full), *doctor.metrics(full))] == ["ok"] * (1 + bool(settings))
