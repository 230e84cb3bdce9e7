"""A run on one picture: the plan, fresh gradients, exact resume in the middle of a scale, the reconstruction chain."""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import ROOT, running, wait_until
from stopped_runs import stopped_at
from torch import Tensor

from sarigan.config import load_config
from sarigan.data.picture import resized
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.files.run_record import read_run
from sarigan.pretrained import load_generator, load_single_image, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.systems.single_image.plan import PlanConfig
from sarigan.systems.single_image.system import SingleImageConfig, SingleImageSystem, thousands
from sarigan.systems.system import Shard
from sarigan.training.precision import Precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer
from sarigan.visualization.report.run_sections import write_report

BuildConfig = Callable[..., SingleImageConfig]
BuildSystem = Callable[..., SingleImageSystem]


def state_of(run_dir: Path) -> dict[str, Any]:
    return load_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1])


def differing(a: Any, b: Any, name: str = "") -> list[str]:
    """Names of tensors and numbers that are not the same to the bit."""
    if isinstance(a, dict):
        return [n for key in a.keys() | b.keys() for n in differing(a.get(key), b.get(key), f"{name}.{key}")]
    if isinstance(a, list | tuple):
        return [n for i, (x, y) in enumerate(zip(a, b, strict=True)) for n in differing(x, y, f"{name}.{i}")]
    if isinstance(a, Tensor):
        return [] if isinstance(b, Tensor) and torch.equal(a, b) else [name]
    return [] if a == b else [name]


def same_state(one: dict[str, Any], two: dict[str, Any]) -> None:
    apart = ("seconds", "config", "platform")
    assert differing(*({k: v for k, v in state.items() if k not in apart} for state in (one, two))) == []


@pytest.mark.parametrize("plan", [(), ("plan.joint_scales=3", "plan.generator_steps=1")], ids=["original", "joint"])
@pytest.mark.parametrize("stop", [6, 8], ids=["middle", "boundary"])
def test_stopped_in_a_scale_and_resumed_it_is_bit_identical(
    plan: tuple[str, ...], stop: int, single_image_config: BuildConfig, tmp_path: Path
) -> None:
    config = single_image_config(*plan)
    train(config, tmp_path / "whole")
    with stopped_at(stop):
        assert stop <= train(config, tmp_path / "parts").state.step <= stop + 1
    train(config, tmp_path / "parts")
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert whole["step"] == parts["step"] == 12 and whole["generators"]["num_begun"] == 3
    same_state(whole, parts)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_interrupted_the_same_command_goes_on_bit_identically(
    number: int, single_image_config: BuildConfig, picture_file: Path, tmp_path: Path
) -> None:
    """The process that trains is killed, or gets Ctrl-C, at some step; its checkpoints are every fifth step's."""
    config = tmp_path / "tiny.yaml"
    settings = single_image_config("plan.iterations=12", "training.checkpoint_kimg=0.005").to_dict()
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "sarigan", "single_image", "train", picture_file, "--config", config, "--run-dir"]
    parts = tmp_path / "parts"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with running([*command, parts], cwd=ROOT, **quiet) as process:
        wait_until(lambda: len(list_checkpoints(parts / "checkpoints")) > 1, "two checkpoints", lambda: process.poll() is None)
        process.send_signal(number)
        assert process.wait() == (0 if number == signal.SIGINT else -number)
    assert 0 < state_of(parts)["step"] < 36
    subprocess.run([*map(str, command), parts], cwd=ROOT, check=True, capture_output=True)
    # Not in this process, which may have another number of threads.
    subprocess.run([*map(str, command), tmp_path / "whole"], cwd=ROOT, check=True, capture_output=True)
    same_state(state_of(tmp_path / "whole"), state_of(parts))


def test_phases_are_those_of_the_plan(single_image_system: BuildSystem) -> None:
    system = single_image_system("plan.critic_steps=3", "plan.generator_steps=2")
    for step in range(12):
        due = [phase.name for phase in system.phases if phase.is_due(step)]
        kinds = [*(f"critic {n}" for n in range(3)), *(f"generator {n}" for n in range(2))]
        assert due == [f"{kind} of scale {step // 4}" for kind in kinds]


def test_every_phase_and_step_draws_other_noise_and_the_same_again(single_image_system: BuildSystem) -> None:
    system = single_image_system()
    randomness = system.randomness
    keys = [(phase, step, attempt) for phase in ("critic 0", "critic 1") for step in (4, 5) for attempt in (0, 1)]
    drawn = [randomness.draw(1, phase, step, 1, attempt) for phase, step, attempt in keys]
    again = [randomness.draw(1, phase, step, 1, attempt) for phase, step, attempt in keys]
    for index, draws in enumerate(drawn):
        assert [noise.shape[-2:] for noise in draws.noises] == [(11, 15), (15, 20)]
        assert all(torch.equal(a, b) for a, b in zip(draws.noises, again[index].noises, strict=True))
        assert all(not torch.equal(draws.noises[0], other.noises[0]) for other in drawn[:index])
    many = randomness.draw(1, "critic 0", 0, 4, 0)
    assert len(many) == 4 and len(many.shard(1, 2)) == 2
    assert torch.equal(many.shard(1, 2).noises[1], many.noises[1][1::2])


def step_of(system: SingleImageSystem, step: int) -> None:
    """One step as the trainer makes it, without its bookkeeping."""
    system.begin_step(step / 1000)
    for phase in system.phases:
        if phase.is_due(step):
            assert phase.draw is not None
            loss, _ = phase.loss(Shard(None, phase.draw(phase.name, step, 1, 0)))
            for parameter, gradient in zip(phase.parameters, torch.autograd.grad(loss, phase.parameters), strict=True):
                parameter.grad = gradient
            phase.optimizer.step()
            phase.optimizer.zero_grad()


def gradients_before_each_update(system: SingleImageSystem, step: int) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Of every generator phase of a step: the gradients it makes, and those of its loss written again at the same weights."""
    found = []
    system.begin_step(step / 1000)
    for phase in system.phases:
        if not phase.is_due(step):
            continue
        assert phase.draw is not None
        draws = phase.draw(phase.name, step, 1, 0)
        loss, _ = phase.loss(Shard(None, draws))
        gradients = list(torch.autograd.grad(loss, phase.parameters))
        if phase.network == "generators":
            generator, critic = system.generator, system.critics[0]
            again = -critic(generator(draws.noises)).mean()
            again = again + 10 * (generator([generator.fixed_noise]) - generator.real(0)).square().mean()
            found.append((gradients, list(torch.autograd.grad(again, phase.parameters))))
        for parameter, gradient in zip(phase.parameters, gradients, strict=True):
            parameter.grad = gradient
        phase.optimizer.step()
    return found


def test_every_generator_step_has_fresh_gradients(single_image_system: BuildSystem) -> None:
    """The published program went back through one graph three times, whose weights it had changed in between."""
    found = gradients_before_each_update(single_image_system("plan.generator_steps=3"), 0)
    assert len(found) == 3
    for gradients, expected in found:
        for a, b in zip(gradients, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-12)
    assert all(not torch.equal(found[0][0][i], found[1][0][i]) for i in (0, 2))


def test_a_scale_takes_over_and_the_scales_below_stay(single_image_system: BuildSystem) -> None:
    """At its first step: the weights of the scale before, sigma by hand. In its steps: no other scale changes."""
    system = single_image_system()
    for step in range(4):
        step_of(system, step)
    before = {name: value.clone() for name, value in system.generator.state_dict().items()}
    system.begin_step(4 / 1000)
    generator = system.generator
    for name in (n for n in before if n.startswith("levels.0.")):
        assert torch.equal(generator.state_dict()[name.replace("levels.0.", "levels.1.")], before[name])
    error = resized(generator.reconstruction(0), (15, 20)) - resized(generator.picture, (15, 20))
    sigma = 0.1 * np.sqrt(np.mean(error.numpy() ** 2))
    assert abs(float(generator.amplitudes[1]) - sigma) < 1e-12
    assert generator.amplitudes[0] == 1 and int(generator.num_begun) == 2
    assert not system.optimizers["generator_optimizer_0"].state
    step_of(system, 4)
    after = generator.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in before if n.startswith(("levels.0.", "levels.2.")))
    assert any(not torch.equal(after[n], before[n.replace("levels.1", "levels.0")]) for n in after if n.startswith("levels.1."))


def test_widths_that_differ_are_not_taken_over(single_image_system: BuildSystem) -> None:
    system = single_image_system("networks.doubling=1", "networks.max_channels=8")
    for step in range(4):
        step_of(system, step)
    before = system.generator.levels[1].layers[0].weight.clone()
    system.begin_step(4 / 1000)
    assert torch.equal(system.generator.levels[1].layers[0].weight, before)


def test_the_joint_plan_trains_the_last_scales_at_falling_rates(single_image_system: BuildSystem) -> None:
    system = single_image_system(
        "plan.joint_scales=2", "plan.rate_factor=0.25", "plan.decay_at=0.5", "optimizer.generator_rate=0.004"
    )
    for step in range(8):
        step_of(system, step)
    before = {name: value.clone() for name, value in system.generator.state_dict().items()}
    step_of(system, 8)
    changed = {n.split(".")[1] for n, v in system.generator.state_dict().items()
               if n.startswith("levels.") and "num_batches" not in n and not torch.equal(v, before[n])}  # fmt: skip
    assert changed == {"1", "2"}
    rates = [group["lr"] for group in system.optimizers["generator_optimizer_2"].param_groups]
    assert rates == pytest.approx([0.001, 0.004])
    system.begin_step(10 / 1000)  # half of the scale's four steps are made
    rates = [group["lr"] for group in system.optimizers["generator_optimizer_2"].param_groups]
    assert rates == pytest.approx([0.0001, 0.0004])


def test_rates_fall_to_a_tenth_at_the_given_share_of_a_scale() -> None:
    plan = PlanConfig(iterations=2000)
    assert [plan.decay(step, 0) for step in (0, 1599, 1600, 1999)] == [1, 1, 0.1, 0.1]
    assert [plan.decay(step, 2) for step in (4000, 5599, 5600)] == [1, 1, 0.1]
    assert [plan.scale_of(step, 3) for step in (0, 1999, 2000, 5999, 6000)] == [0, 0, 1, 2, 2]
    assert [list(PlanConfig(joint_scales=3).trained(level)) for level in (0, 1, 4)] == [[0], [0, 1], [2, 3, 4]]


@pytest.mark.parametrize("plan", [(), ("plan.joint_scales=3", "networks.critic_norm=none")], ids=["original", "joint"])
def test_the_chain_from_fixed_noise_gives_the_picture_back(
    plan: tuple[str, ...], single_image_config: BuildConfig, tmp_path: Path
) -> None:
    """After 30 steps a scale its PSNR exceeds that of the coarsest scale's true pixels, enlarged: details were learnt."""
    config = single_image_config(
        "networks.channels=16", "networks.max_channels=16", "plan.iterations=30", "plan.critic_steps=1",
        "optimizer.generator_rate=0.005", "objective.reconstruction_weight=100", *plan,
    )  # fmt: skip
    train(config, tmp_path)
    generator = load_single_image(tmp_path).generator

    def psnr(image: Tensor) -> float:
        return float(10 * torch.log10(4 / (image - generator.picture).square().mean()))

    found = psnr(generator.reconstruction(2))
    assert found > psnr(resized(generator.real(0), generator.sizes[-1])) + 1
    assert found > 20


def test_recorded_described_and_reported(single_image_config: BuildConfig, picture_file: Path, tmp_path: Path) -> None:
    trainer = train(single_image_config(), tmp_path)
    assert trainer.total_steps == 12
    run = read_run(tmp_path)
    for key in ("loss/critic", "loss/generator", "loss/reconstruction", "loss/penalty", "pyramid/scale"):
        assert len(run.series(key)) == 6, key
    assert [value for _, value in run.series("pyramid/scale")] == [0, 0, 1, 1, 2, 2]
    config, _ = single_image_config().open_data()
    report = dry_run_report(config, TrainingState(config, trainer.state.precision), "data")
    assert "generator of scale 2" in report and "28x20 px, 4 channels" in report and "3 scales: 15x11, 20x15, 28x20" in report
    system, loaded = load_system(tmp_path)
    assert write_report(run, loaded.method(), loaded.resolution, system, "checkpoint", tmp_path / "report.html") > 1000
    assert "one picture, one scale after the other" in (tmp_path / "report.html").read_text()
    with Image.open(sorted((tmp_path / "samples").glob("*.png"))[-1]) as grid:
        assert grid.height / grid.width == pytest.approx(20 / 56)
    with pytest.raises(InputError, match="single_image sample --score"):
        system.evaluation_inputs()
    with pytest.raises(InputError, match="holds a system 'single_image'; this needs a style-based generator"):
        load_generator(tmp_path)


def test_a_checkpoint_needs_no_picture_file(single_image_config: BuildConfig, picture_file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(picture_file.read_bytes())
    train(single_image_config(f"data.path={picture}", "plan.iterations=1"), tmp_path / "run")
    expected = load_single_image(tmp_path / "run").generator.picture
    with Image.open(picture_file) as image:
        pixels = np.asarray(image)
    assert torch.equal((expected[0].permute(1, 2, 0) * 127.5 + 127.5).round().byte(), torch.from_numpy(pixels))
    for change in (picture.unlink, lambda: picture.write_bytes(b"no picture")):
        change()
        assert torch.equal(load_single_image(tmp_path / "run").generator.picture, expected)


def test_a_run_goes_on_with_its_picture_and_plan_only(
    single_image_config: BuildConfig, picture_file: Path, tmp_path: Path
) -> None:
    train(single_image_config("plan.iterations=1"), tmp_path / "run")
    with Image.open(picture_file) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"another architecture; it differs in data.sha256"):
        train(single_image_config("plan.iterations=1", f"data.path={tmp_path / 'other.png'}"), tmp_path / "run")
    with pytest.raises(InputError, match=r"it differs in plan.iterations \(1 there, 2 here\)"):
        train(single_image_config("plan.iterations=2"), tmp_path / "run")


def test_tiny_trains_without_a_picture(single_image_config: BuildConfig) -> None:
    """As `sarigan doctor` does, with eight samples a step."""
    tiny = single_image_config().tiny()
    tiny = dataclasses.replace(tiny, training=dataclasses.replace(tiny.training, batch_size=8, total_kimg=0.016))
    state = TrainingState(tiny, Precision(torch.device("cpu"), "float32"))

    class Nothing:
        resolution = 8

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> np.ndarray:
            return np.zeros((3, 8, 8), dtype=np.uint8)

        def describe(self) -> str:
            return "nothing"

    trainer = Trainer(state, Nothing())
    trainer.run()
    trainer.check_finite()
    assert state.step == 2 and trainer.nonfinite.total() == 0


@pytest.mark.parametrize(("name", "scales", "joint", "channels", "padding"), [
    ("single_image", 6, 1, 32, "zero"), ("single_image_joint", 6, 3, 64, "zero"), ("single_image_animation", 7, 1, 32, "noise"),
    ("single_image_super_resolution", 8, 1, 32, "zero"),
])  # fmt: skip
def test_shipped_configurations(name: str, scales: int, joint: int, channels: int, padding: str, tmp_path: Path) -> None:
    """On a picture of 96x64 px: the number of scales, and that the run has as many steps as the plan says."""
    Image.new("RGB", (96, 64)).save(tmp_path / "picture.png")
    config, data = load_config(ROOT / "configs" / f"{name}.yaml", [f"data.path={tmp_path / 'picture.png'}"]).open_data()
    assert isinstance(config, SingleImageConfig)
    assert len(config.pyramid.sizes()) == scales and config.plan.joint_scales == joint
    assert (config.networks.channels, config.networks.padding) == (channels, padding)
    assert config.training.total_kimg == pytest.approx(2 * scales) and "96x64 px" in data.describe()
    assert config.build(Precision(torch.device("cpu"), "float32")).resolution == 96


@pytest.mark.parametrize("count", [1, 18, 1001, 1100, 7013, 18_000, 20_000])
def test_the_length_in_kimg_gives_the_number_of_steps(count: int) -> None:
    assert np.ceil(thousands(count) * 1000) == count


@pytest.mark.parametrize(("setting", "message"), [
    ("training.precision=bfloat16", "training.precision must be float32 or float64"),
    ("metrics.names=[fd_efficientnet]", "metrics.names must be empty"),
    ("training.augmentation.name=ada", "training.augmentation.name must be none"),
    ("plan.joint_scales=0", "plan.joint_scales must be at least 1"),
    ("plan.rate_factor=0", "plan.rate_factor"), ("plan.decay_at=1.5", "plan.decay_at"),
    ("objective.penalty_weight=-1", "objective.penalty_weight must not be negative"),
    ("optimizer.critic_rate=0", "optimizer.critic_rate"), ("optimizer.beta1=1", "optimizer.beta1"),
    ("data.flip=true", "data.flip"), ("data.num_workers=2", "data.num_workers must be 0"), ("data.name=lmdb", "data.name"),
    ("pyramid.ratio=2", "pyramid.ratio"), ("training.init_from=runs/other", "training.init_from must be null"),
    ("pyramid.min_size=6", "pyramid.min_size must be at least 7"),
])  # fmt: skip
def test_settings_that_make_no_sense(setting: str, message: str, single_image_config: BuildConfig) -> None:
    with pytest.raises(InputError, match=message):
        single_image_config(setting)


def test_pictures_that_cannot_be_learnt(
    single_image_config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (40, 10)).save(small)
    with pytest.raises(InputError, match=rf"{small}: a picture of 40x10 px is too small .* more than pyramid.min_size=10"):
        single_image_config(f"data.path={small}").open_data()
    (tmp_path / "text.png").write_text("no picture")
    for path, message in ((tmp_path / "absent.png", "does not exist"), (tmp_path, "is a folder"),
                          (tmp_path / "text.png", "not a readable picture")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            single_image_config(f"data.path={path}").open_data()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one picture is trained by one process, got 2"):
        single_image_config().open_data()
