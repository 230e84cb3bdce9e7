"""Augmentation in a run: who sees what, p, checkpoints, cuts of the batch, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from stopped_runs import stopped_at, stored_weights
from torch import Tensor, nn

from sarigan.config import Config, load_config
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from sarigan.files.run_record import read_run
from sarigan.runs.run import train
from sarigan.systems.registry import SYSTEMS
from sarigan.systems.style.system import StyleConfig
from sarigan.systems.system import Phase, Shard
from sarigan.training.augmentation.augmentation import Augmentation
from sarigan.training.augmentation.config import ADA, AugmentationConfig

Build = Callable[..., Any]
CPU = torch.device("cpu")
ALL = ("training.augmentation.name=ada", "training.augmentation.transforms=[bgcfnc]")
# A target that the first steps exceed, and a speed at which 20 steps are long: p grows.
ADAPTIVE = (*ALL, "training.augmentation.speed_kimg=0.2", "training.augmentation.target=-0.9")
FIXED = ("training.augmentation.name=ada", "training.augmentation.p=0.7")
DIFFAUGMENT = ("training.augmentation.name=diffaugment",)


def overfit(config: AugmentationConfig, steps: int = 400) -> list[float]:
    """Mean signs of D's logits on 32 fixed images of noise that it learns to tell from fresh noise, the last 200 steps."""
    source = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    real = torch.rand(32, 3, 8, 8, generator=source) * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    augmentation = Augmentation(config, 0, 16, CPU)
    phase = Phase("discriminator", lambda shard: (torch.zeros(()), {}), "discriminator", [], optimizer, batch_size=16)
    signs = []
    for step in range(steps):
        shard = Shard(None, None)
        augmentation.prepare([shard], phase, step, 0)
        shown = network(shard.augment(real[torch.randint(32, (16,), generator=source)]))
        fresh = network(shard.augment(torch.rand(16, 3, 8, 8, generator=source) * 2 - 1))
        loss = nn.functional.softplus(-shown).mean() + nn.functional.softplus(fresh).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sign = shown.detach().sign().mean()
        augmentation.adapt(sign)
        signs.append(float(sign))
    return signs[-200:]


def test_p_holds_an_overfitting_discriminator_at_the_target() -> None:
    assert np.mean(overfit(AugmentationConfig())) > 0.99
    for target in (0.6, 0.4):
        adapted = overfit(AugmentationConfig("ada", ["blit"], target=target, speed_kimg=4.0))
        assert np.mean(adapted) == pytest.approx(target, abs=0.08)


def test_p_moves_by_the_published_rule() -> None:
    """Every 4 steps by batch * 4 / (1000 kimg), up where the mean sign is above the target; within 0..1."""
    augmentation, p, signs = Augmentation(AugmentationConfig("ada", speed_kimg=0.1), 0, 8, CPU), 0.0, []
    draws = np.random.default_rng(0).uniform(-1, 1, 60)
    draws[:12], draws[12] = 1.0, np.nan  # a step that is not finite counts for nothing
    for draw in draws:
        augmentation.adapt(torch.tensor(draw))
        signs += [] if np.isnan(draw) else [draw]
        if len(signs) == 4:
            p, signs = min(max(p + np.sign(np.mean(signs) - 0.6) * 8 * 4 / 100, 0), 1), []
        assert float(augmentation.state[0]) == pytest.approx(p, abs=1e-5)
    assert Augmentation(AugmentationConfig("ada", p=0.3), 0, 8, CPU).state[0] == pytest.approx(0.3)
    assert Augmentation(AugmentationConfig("diffaugment"), 0, 8, CPU).state[0] == 1


def weights(folder: Path) -> dict[str, Tensor]:
    state = load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])
    return stored_weights(folder, 20) | ({"augmentation": state["augmentation"]} if "augmentation" in state else {})


@pytest.fixture
def folder_config(tiny_config: Build, png_folder: Path, tmp_path: Path) -> Build:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, path in enumerate(sorted(png_folder.glob("*.png"))):
        with Image.open(path) as picture:
            picture.resize((8, 8)).save(folder / f"{index}.png")
    return lambda *overrides: tiny_config("data.name=folder", f"data.path={folder}", *overrides)


@pytest.mark.parametrize("overrides", [ADAPTIVE, FIXED, DIFFAUGMENT], ids=["ada", "fixed", "diffaugment"])
def test_resumed_it_is_bit_identical(overrides: tuple[str, ...], folder_config: Build, tmp_path: Path) -> None:
    """Stopped after 10 of 20 steps, between two adjustments of p; fresh objects go on."""
    config: Config = folder_config(*overrides)
    whole = train(config, tmp_path / "whole")
    with stopped_at(9):
        assert train(config, tmp_path / "parts").state.step % 4 != 0
    train(config, tmp_path / "parts")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert one.keys() == two.keys() and ("augmentation" in one) == (overrides == ADAPTIVE)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    if overrides == ADAPTIVE:
        p = float(whole.state.augmentation.state[0])
        assert 0 < p < 1 and [value for _, value in read_run(tmp_path / "whole").series("augmentation/p")][-1] == p


def test_augmentation_changes_the_training_and_metrics_see_none(tiny_config: Build, tiny_trainer: Build) -> None:
    """D sees other images than without; samples come straight from the generator."""
    states = []
    for overrides in ((), FIXED, DIFFAUGMENT):
        trainer = tiny_trainer(tiny_config("training.total_kimg=0.016", *overrides))
        before = next(trainer.system.sample_images(4, 4))
        assert torch.equal(before, next(trainer.system.sample_images(4, 4)))
        states.append(before)
        trainer.run()
        states.append(torch.cat([weight.flatten() for weight in trainer.parameters["discriminator"]]))
    assert torch.equal(states[0], states[2]) and torch.equal(states[0], states[4])
    assert not torch.equal(states[1], states[3]) and not torch.equal(states[1], states[5])


def test_p_0_trains_as_without(tiny_config: Build, tiny_trainer: Build) -> None:
    found = []
    for overrides in ((), (*ALL, "training.augmentation.p=0")):
        trainer = tiny_trainer(tiny_config("training.total_kimg=0.04", *overrides))
        trainer.run()
        found.append(torch.cat([weight.flatten() for weight in trainer.parameters["discriminator"]]))
    assert torch.allclose(*found, atol=1e-6)


def test_real_and_generated_images_of_every_phase_are_augmented(tiny_config: Build, tiny_trainer: Build) -> None:
    """Two calls in D's phase, one in R1's and G's; others in every call, phase, step and attempt."""
    trainer = tiny_trainer(tiny_config(*FIXED, "objective.r1_interval=1", "training.total_kimg=0.008"))
    calls: list[str] = []
    prepare = trainer.state.augmentation.prepare

    def noted(shards: list[Shard], phase: Phase, step: int, attempt: int) -> None:
        prepare(shards, phase, step, attempt)
        augment = shards[0].augment
        shards[0].augment = lambda images: (calls.append(phase.name), augment(images))[1]

    trainer.state.augmentation.prepare = noted
    trainer.run()
    assert calls == ["discriminator", "discriminator", "r1", "generator"]
    outputs, ramp = [], torch.linspace(-1, 1, 8).expand(8, 3, 8, 8)
    for name, step, attempt in (("discriminator", 0, 0), ("generator", 0, 0), ("discriminator", 1, 0), ("discriminator", 0, 1)):
        shard, phase = Shard(None, None), next(phase for phase in trainer.phases if phase.name == name)
        prepare([shard], phase, step, attempt)
        outputs += [shard.augment(ramp), shard.augment(ramp)]
    assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_two_rounds_see_the_transforms_of_one(tiny_config: Build, tiny_trainer: Build) -> None:
    results = []
    for rounds in (1, 2):
        trainer = tiny_trainer(
            tiny_config(
                *FIXED, "training.total_kimg=0.024", f"training.accumulation_rounds={rounds}",
                "discriminator.minibatch_stddev_group=4",
            )
        )  # fmt: skip
        trainer.run()
        results.append(torch.cat([weight.flatten() for weight in trainer.parameters["discriminator"]]))
    assert torch.allclose(*results, atol=1e-4)


def test_r1_goes_through_the_augmentation(tiny_config: Build, tiny_trainer: Build) -> None:
    """The penalty is on the gradient in the images before it: twice the image, twice the gradient."""
    trainer = tiny_trainer(tiny_config())
    batch = trainer.system.example_batch(4, CPU, torch.float32)
    _, plain = trainer.system.objective.r1_phase(Shard(batch, None))
    _, doubled = trainer.system.objective.r1_phase(Shard(batch, None, augment=lambda images: 2 * images))
    assert doubled["loss/r1"] == pytest.approx(4 * float(plain["loss/r1"]), rel=1e-4)


def test_turned_on_later_p_begins_at_0_and_an_impossible_p_is_refused(
    tiny_config: Build, tiny_state: Build, tmp_path: Path
) -> None:
    off, on = tiny_state(tiny_config()), tiny_state(tiny_config(*ADAPTIVE))
    assert "augmentation" not in off.state_dict()
    assert "augmentation: the checkpoint has no p, which begins at 0" in on.load_state_dict(off.state_dict(), "old.pt")
    for values, message in (
        ([1.5, 0, 0], "p must be 0 to 1, got 1.5"), ([0.5, 3, 2], "with the sum 3.0"), ([float("nan"), 0, 0], "not finite"),
        ([0.5, 0], "shape"),
    ):  # fmt: skip
        state = {**on.state_dict(), "augmentation": torch.tensor(values, dtype=torch.float32)}
        with pytest.raises(InputError, match=f"bad.pt: the checkpoint does not fit this configuration .*{message}"):
            on.load_state_dict(state, "bad.pt")
    save_checkpoint({**on.state_dict(), "config": on.config.to_dict()}, tmp_path / "checkpoint.pt")
    assert torch.equal(load_checkpoint(tmp_path / "checkpoint.pt")["augmentation"], on.augmentation.state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("name=adda", "training.augmentation.name must be one of none, ada, diffaugment, got 'adda'"),
        ("name=ada transforms=[flip]", "training.augmentation.transforms of ada must be among xflip, rotate90, .*got 'flip'"),
        ("name=diffaugment transforms=[hue]", "of diffaugment must be among color, translation, cutout, got 'hue'"),
        ("name=ada p=1.1", "training.augmentation.p must be 0 to 1, or null, got 1.1"),
        ("name=ada p=-0.1", "training.augmentation.p must be 0 to 1, or null, got -0.1"),
        ("name=ada p=.nan", "training.augmentation.p must be 0 to 1, or null, got nan"),
        ("name=ada p=often", "training.augmentation.p must be a number or null, got 'often'"),
        ("name=ada target=2", "training.augmentation.target must be -1 to 1, got 2"),
        ("name=ada speed_kimg=0", "training.augmentation.speed_kimg must be positive, got 0"),
        ("name=ada interval=0", "training.augmentation.interval must be at least 1, got 0"),
        ("name=ada transforms=bgc", "training.augmentation.transforms must be a list, e.g. \\[bgc\\], got 'bgc'"),
    ],
)
def test_refused_in_one_line(settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_config(None, [f"training.augmentation.{setting}" for setting in settings.split()])
    assert "\n" not in str(caught.value)


class Silent(StyleConfig):
    AUGMENTS: ClassVar[str] = "nothing"


class WithLayout(StyleConfig):
    AUGMENTS: ClassVar[str] = "appearance"


def test_refused_where_a_system_makes_no_sense_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSTEMS, "silent", Silent)
    monkeypatch.setitem(SYSTEMS, "layout", WithLayout)
    load_config(None, ["system=silent"])
    with pytest.raises(InputError, match="system 'silent' has no discriminator of whole images .* got 'diffaugment'"):
        load_config(None, ["system=silent", "training.augmentation.name=diffaugment"])
    ada = ["system=layout", "training.augmentation.name=ada"]
    with pytest.raises(InputError, match="must not move pixels away from their layout or mask, got xflip, rotate90, xint, "):
        load_config(None, ada)
    load_config(None, [*ada, "training.augmentation.transforms=[color,filter,noise,cutout]"])


def test_names_of_transforms() -> None:
    assert AugmentationConfig("ada", ["bgcfnc", "xflip"]).chosen() == ADA
    assert AugmentationConfig("ada", ["hue", "xflip"]).chosen() == ("xflip", "hue")
    assert AugmentationConfig("ada").chosen() == ADA[:12]
    assert AugmentationConfig("diffaugment").chosen() == ("color", "translation", "cutout")
    assert AugmentationConfig("none", ["xflip"]).chosen() == ()


def test_metrics_compare_with_unseen_images(folder_config: Build, tmp_path: Path) -> None:
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    for index in range(5):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(unseen / f"{index}.png")
    metrics = ("metrics.names=[kid_efficientnet]", "metrics.num_images=8", "metrics.interval_kimg=100")
    train(folder_config("training.total_kimg=0.008", *metrics, f"metrics.data={unseen}"), tmp_path / "run")
    assert {result["num_real_images"] for result in read_run(tmp_path / "run").metrics} == {5}
    with pytest.raises(InputError, match="metrics.data: none.zip"):
        train(folder_config("training.total_kimg=0.008", *metrics, "metrics.data=none.zip"), tmp_path / "other")
