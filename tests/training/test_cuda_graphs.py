"""Recorded phases train as plain ones do. Without a GPU a stand-in for the recording calls the same function again."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sarigan.config import Config, load_config
from sarigan.data.batch import Batch
from sarigan.errors import InputError
from sarigan.runs import run
from sarigan.training.cuda_graphs import WARM_UP, CudaRecorder, Outcome, PhaseGraphs
from sarigan.training.precision import resolve_precision
from sarigan.training.scalars import ScalarSums
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

SMALL = (
    "data.num_workers=0", "data.num_images=64", "generator.resolution=32", "generator.z_dim=8", "generator.style_dim=8",
    "generator.mapping_layers=2", "generator.channel_base=128", "generator.channel_max=16",
    "generator.grouping.max_group_share=0.25", "discriminator.channel_base=128", "discriminator.channel_max=16",
    "objective.r1_interval=2", "objective.path_length_interval=2", "objective.mixing_probability=0.5", "training.batch_size=8",
)  # fmt: skip
METHODS = {
    "sarigan": (),
    "stylegan": (),
    "rounds": ("training.accumulation_rounds=2",),
    "falling rates": ("optimizer.decay_kimg=[0.02,0.2]",),
    "classes": ("data.labels=hair_color",),
}
STEPS = 20
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class StandIn:
    """In place of recordings: an outcome is filled when it is played, and spoilt by the next one, which has the same memory."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        outcome = (ScalarSums(), torch.zeros((), dtype=torch.bool))
        self.outcomes.append(outcome)

        def replay() -> None:
            for sums, skipped in self.outcomes:
                skipped.fill_(True)
                for vector in sums.vectors.values():
                    vector.fill_(torch.nan)
            sums, skipped = function()
            outcome[0].vectors = sums.vectors
            outcome[1].copy_(skipped)

        return replay, outcome


def config_of(method: str, *overrides: str) -> Config:
    name = method if method in ("sarigan", "stylegan") else "sarigan"
    path = CONFIGS / ("avatars_64_classes_sarigan.yaml" if method == "classes" else f"avatars_64_{name}.yaml")
    return load_config(path, [*SMALL, *METHODS[method], *overrides])


def trained(config: Config, steps: int, graphs: Callable[[Trainer], PhaseGraphs] | None = None) -> Trainer:
    """A trainer after some steps on random images."""
    config, dataset = config.open_data()
    trainer = Trainer(TrainingState(config, resolve_precision(config.training)), dataset)
    if graphs is not None:
        trainer.graphs = graphs(trainer)
    batches = random_batches(trainer)
    for _ in range(steps):
        trainer.train_step(batches)
    return trainer


def random_batches(trainer: Trainer) -> Iterator[Batch]:
    source = torch.Generator().manual_seed(0)
    while True:
        images = torch.randint(256, (trainer.batch_size, 3, 32, 32), generator=source, dtype=torch.uint8)
        labels = torch.randint(2, (trainer.batch_size,), generator=source) if trainer.state.config.data.labels else None
        yield Batch(images, labels)


def weights(trainer: Trainer) -> Tensor:
    modules = trainer.system.modules().values()
    return torch.cat([parameter.detach().double().flatten() for module in modules for parameter in module.parameters()]).cpu()


@pytest.mark.parametrize("method", METHODS)
def test_recordings_train_as_plain_updates_do(method: str) -> None:
    config = config_of(method, "training.device=cpu", "training.precision=float32")
    stand_in = StandIn()
    plain = trained(config, STEPS)
    recorded = trained(config, STEPS, lambda trainer: PhaseGraphs(trainer.update, stand_in))
    assert len(stand_in.outcomes) >= len(plain.phases)
    assert torch.equal(weights(plain), weights(recorded))
    assert plain.scalars.means() == recorded.scalars.means()
    assert torch.equal(plain.nonfinite.table, recorded.nonfinite.table)


def test_a_form_is_recorded_once_whatever_is_drawn() -> None:
    """With and without mixing D and G have a recording each, though layers mix from another one on in every step."""
    stand_in = StandIn()
    config = config_of("sarigan", "training.device=cpu", "objective.r1_gamma=0", "objective.path_length_weight=0")
    trainer = trained(config, STEPS, lambda trainer: PhaseGraphs(trainer.update, stand_in))
    assert [phase.name for phase in trainer.phases] == ["discriminator", "generator", "grouping"]
    assert len(stand_in.outcomes) == 5
    graphs = trainer.graphs
    assert graphs is not None and set(graphs.num_plain.values()) == {WARM_UP}


def test_adam_is_recordable_only_meanwhile() -> None:
    """A checkpoint of the optimiser holds numbers, as without recordings."""
    seen: list[Any] = []

    def record(function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        for optimizer in trainer.system.optimizers.values():
            seen.extend(copy.copy((group["lr"], group["capturable"])) for group in optimizer.param_groups)
        raise KeyboardInterrupt

    config = config_of("sarigan", "training.device=cpu")
    trainer = trained(config, WARM_UP, lambda trainer: PhaseGraphs(trainer.update, record))
    before = [optimizer.state_dict()["param_groups"] for optimizer in trainer.system.optimizers.values()]
    batches = random_batches(trainer)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(STEPS):
            trainer.train_step(batches)
    assert any(isinstance(rate, Tensor) and capturable for rate, capturable in seen)
    assert before == [optimizer.state_dict()["param_groups"] for optimizer in trainer.system.optimizers.values()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_graphs_of_a_gpu_train_as_plain_updates_do(method: str) -> None:
    """In float64: in float32 Adam blows up what the order of sums leaves of gradients that are zero."""
    config = config_of(method, "training.device=cuda", "training.precision=float64")
    start, plain = trained(config, 0), trained(config, STEPS)
    recorded = trained(config, STEPS, lambda trainer: PhaseGraphs(trainer.update, CudaRecorder()))
    assert recorded.graphs is not None and len(recorded.graphs.recordings) >= len(plain.phases)
    moved = (weights(plain) - weights(start)).norm()
    assert (weights(plain) - weights(recorded)).norm() < 0.001 * moved
    assert recorded.nonfinite.total() == 0
    assert recorded.scalars.means() == pytest.approx(plain.scalars.means(), rel=0.01, abs=1e-6)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("training.cuda_graphs=true", "training.device=cpu"), "training.cuda_graphs=true needs a GPU, the run is on cpu"),
        (("training.cuda_graphs=true", "training.augmentation.name=ada"), "must be false with training.augmentation.name=ada"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(overrides: tuple[str, ...], line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=line):
        run.train(config_of("sarigan", *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_systems_that_cannot_be_recorded_say_so() -> None:
    with pytest.raises(InputError, match="training.cuda_graphs must be false for system 'class_conditional'"):
        load_config(CONFIGS / "avatars_32_classes_biggan.yaml", ["training.cuda_graphs=true"])
