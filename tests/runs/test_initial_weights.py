"""training.init_from: a run begins with other weights, goes on from its own, and says whose they were."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign_networks import random_checkpoint

from sarigan.config import Config, load_config
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import DISCRIMINATOR_NAME, save_exported
from sarigan.files.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from sarigan.importing.foreign_file import load_state
from sarigan.runs.initial_weights import initialize_from, put_in_place
from sarigan.runs.run import train
from sarigan.training.precision import Precision
from sarigan.training.state import TrainingState

Build = Callable[..., Config]


def state_of(config: Config) -> TrainingState:
    return TrainingState(config, Precision(torch.device("cpu"), "float32"))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "release.pt"
    torch.save(random_checkpoint([8, 8, 8, 8], 8, 2, groups=3, dtype=torch.float32), path)
    return path


def fine_tuning(path: Path, *overrides: str) -> Config:
    """The configuration of an import, with a short training."""
    short = (
        "training.batch_size=4", "training.device=cpu", "training.precision=float32", "training.num_samples=4",
        "training.tick_kimg=0.004", "training.checkpoint_kimg=100", "data.num_images=50", "data.num_workers=0",
        "objective.path_length_interval=2", "objective.r1_interval=2", f"training.init_from={path}",
    )  # fmt: skip
    return load_config(None, [*short, *overrides], load_state(path)["config"])


def test_an_imported_model_is_trained_and_the_run_goes_on(
    release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two steps, then two more in another start, are the same as four."""
    caplog.set_level(logging.INFO)
    train(fine_tuning(release, "training.total_kimg=0.008"), tmp_path / "run")
    assert "licence: SariGAN's release states no licence" in caplog.text
    caplog.clear()
    train(fine_tuning(release, "training.total_kimg=0.016"), tmp_path / "run")
    assert "licence" not in caplog.text and "going on from" in caplog.text
    train(fine_tuning(release, "training.total_kimg=0.016"), tmp_path / "whole")
    found, expected = (load_checkpoint(checkpoint_path(tmp_path / name / "checkpoints", 4)) for name in ("run", "whole"))
    start = load_state(release)
    for network in ("generator", "ema_generator", "discriminator"):
        for name, value in expected[network].items():
            assert torch.equal(found[network][name], value), name
        name = "synthesis.constant" if network != "discriminator" else "conv.weight"
        moved = (expected[network][name] - start[network][name]).abs().max()
        assert 0 < moved < 0.1  # four steps of a learning rate of 0.002 away from the file's weights


def test_of_a_run_of_this_project(tiny_config: Build, tmp_path: Path) -> None:
    config = tiny_config()
    source = state_of(config)
    with torch.no_grad():
        for parameter in source.system.modules()["ema_generator"].parameters():
            parameter.add_(1.0)
    path = tmp_path / "checkpoint-00000007.pt"
    save_checkpoint(source.state_dict(), path)
    state = state_of(tiny_config("training.seed=5", "objective.information_weight=3"))
    assert put_in_place(state, load_checkpoint(path)) == []
    assert state.step == 0
    for name, module in state.system.modules().items():
        for key, value in source.system.modules()[name].state_dict().items():
            assert torch.equal(module.state_dict()[key], value), key


def test_without_a_discriminator_and_without_a_q_head(tiny_config: Build, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"g_ema": random_checkpoint([8, 8], 8, 2, groups=3, dtype=torch.float32)["g_ema"]}, path)
    loaded = load_state(path)
    state = state_of(fine_tuning(path))
    before = {key: value.clone() for key, value in state.system.networks["discriminator"].state_dict().items()}
    notes = put_in_place(state, loaded)
    assert notes[1:] == ["holds no discriminator, which starts anew"]
    assert all(torch.equal(value, before[key]) for key, value in state.system.networks["discriminator"].state_dict().items())

    source = state_of(tiny_config("objective.information_weight=0"))
    assert put_in_place(state_of(tiny_config()), source.state_dict()) == [
        "discriminator: recognition is not in it, and starts anew"
    ]
    assert put_in_place(source, state_of(tiny_config()).state_dict()) == []


def test_a_run_goes_on_with_an_export(tiny_config: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run of one step begins with the exported generator as both of its own, and with a new discriminator."""
    caplog.set_level(logging.INFO)
    size = ("generator.resolution=32", "generator.channel_base=256", "data.num_images=50", "training.batch_size=4")
    source = state_of(tiny_config("training.seed=5", *size)).system.averages["ema_generator"].module
    save_exported(source, tmp_path / "export", {})
    config = tiny_config(*size, "training.total_kimg=0.004", f"training.init_from={tmp_path / 'export'}")
    trained = train(config, tmp_path / "run").system
    assert f"begins with the weights of {tmp_path / 'export'}" in caplog.text
    assert "holds no discriminator, which starts anew" in caplog.text
    start = state_of(config).system
    name = "synthesis.constant"
    for network in (trained.networks["generator"], trained.averages["ema_generator"].module):
        assert 0 < (network.get_parameter(name) - source.get_parameter(name)).abs().max() < 0.03  # a step of rate 0.002 or so
    name = "conv.weight"
    ours, drawn = (system.networks["discriminator"].get_parameter(name) for system in (trained, start))
    assert 0 < (ours - drawn).abs().max() < 0.03


@pytest.mark.parametrize("half", [False, True])
def test_of_an_export_with_its_discriminator(
    half: bool, tiny_config: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both networks are those of the source, in float16 up to rounding; an export without takes the file away."""
    source = state_of(tiny_config("training.seed=5")).system
    weights = source.modules()["discriminator"].state_dict()
    average = source.averages["ema_generator"].module
    save_exported(average, tmp_path, {"config": tiny_config().to_dict()}, half, weights)
    state = state_of(tiny_config())
    initialize_from(state, str(tmp_path))
    for name, value in state.system.modules()["discriminator"].state_dict().items():
        assert torch.equal(value, weights[name].half().float() if half else weights[name]), name
    assert "starts anew" not in caplog.text

    with pytest.raises(InputError, match="differs in discriminator.channel_max"):
        initialize_from(state_of(tiny_config("discriminator.channel_max=7")), str(tmp_path))
    file = tmp_path / DISCRIMINATOR_NAME
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{DISCRIMINATOR_NAME}: not the file that generator.json describes"):
        initialize_from(state, str(tmp_path))
    save_exported(average, tmp_path, {})
    assert not file.exists()
    initialize_from(state, str(tmp_path))
    assert "holds no discriminator, which starts anew" in caplog.text


def test_of_a_model_of_the_package(tiny_config: Build) -> None:
    """Its name is understood; so are other networks than its."""
    with pytest.raises(InputError, match="^avatars_32: training.init_from needs the same networks; it differs in generator"):
        initialize_from(state_of(tiny_config()), "avatars_32")


def test_fixed_noise_may_be_on_one_side_only(tiny_config: Build) -> None:
    plain, stored = state_of(tiny_config()), state_of(tiny_config("generator.stored_noise=true"))
    own = stored.system.networks["generator"].get_buffer("noise_0").clone()
    assert put_in_place(stored, plain.state_dict()) == []
    assert torch.equal(stored.system.networks["generator"].get_buffer("noise_0"), own)
    assert put_in_place(plain, stored.state_dict()) == []


def test_other_classes_if_there_are_as_many(tiny_config: Build, tmp_path: Path) -> None:
    def of(*names: str) -> TrainingState:
        shares = {name: 1 / len(names) for name in names}
        return state_of(tiny_config("data.labels=hair_color").with_classes(shares))

    source, state = of("a", "b"), of("cat", "dog")
    assert put_in_place(state, source.state_dict()) == []
    assert state.config.class_names == ["cat", "dog"]
    weight = state.system.networks["generator"].mapping.embedding.weight
    assert torch.equal(weight, source.system.networks["generator"].mapping.embedding.weight)
    with pytest.raises(InputError, match="generator.class_names"):
        put_in_place(of("cat", "dog", "hat"), source.state_dict())


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["generator.style_dim=9"], "it differs in generator.style_dim (8 there, 9 here)"),
        (["generator.form=activation"], "generator.form ('weight' there, 'activation' here)"),
        (["discriminator.channel_max=7"], "discriminator.channel_max (8 there, 7 here)"),
    ],
)
def test_other_networks_are_refused(overrides: list[str], part: str, tiny_config: Build, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000001.pt"
    save_checkpoint(state_of(tiny_config()).state_dict(), path)
    config = tiny_config(*overrides)
    with pytest.raises(InputError) as caught:
        initialize_from(state_of(config), str(path))
    assert part in str(caught.value) and str(caught.value).startswith(f"{path}: training.init_from needs the same networks")


def test_nothing_there(tiny_config: Build, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        initialize_from(state_of(tiny_config()), str(tmp_path / "none"))
