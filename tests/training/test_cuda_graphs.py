"""Recorded phases train as plain ones do. Without a GPU a tape of PyTorch's operators stands in for a graph."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sarigan.config import Config, load_config
from sarigan.data.batch import Batch
from sarigan.diagnosis import doctor
from sarigan.errors import InputError
from sarigan.runs import run
from sarigan.training import trainer as training
from sarigan.training.cuda_graphs import WARM_UP, CudaRecorder, Outcome, PhaseGraphs, check_cuda_graphs
from sarigan.training.nonfinite import NonfiniteError
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Hook, Supervisor, Trainer

SMALL = (
    "data.num_workers=0", "data.num_images=64", "generator.resolution=32", "generator.z_dim=8", "generator.style_dim=8",
    "generator.mapping_layers=2", "generator.channel_base=128", "generator.channel_max=16",
    "generator.grouping.max_group_share=0.25", "discriminator.channel_base=128", "discriminator.channel_max=16",
    "objective.r1_interval=2", "objective.path_length_interval=2", "objective.mixing_probability=0.5", "training.batch_size=8",
)  # fmt: skip
METHODS: dict[str, tuple[str, ...]] = {
    "sarigan": (),
    "stylegan": (),
    "rounds": ("training.accumulation_rounds=2",),
    "falling rates": ("optimizer.decay_kimg=[0.02,0.2]",),
    "classes": ("data.labels=hair_color",),
    "straight_through": ("generator.grouping.kind=straight_through",),
    "activation": ("generator.grouping.kind=activation",),
}
STEPS = 14
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Tape(TorchDispatchMode):
    """Writes down what PyTorch's operators are called with, and calls them again on the same memory. Python stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not any(value.alias_info is not None and not value.alias_info.is_write for value in function._schema.returns):
            self.calls.append((function, args, kwargs or {}, result))  # views stay what they are
        return result

    def play(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, result in self.calls:
                again = function(*args, **kwargs)
                if not function._schema.is_mutable:
                    for mine, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                        if isinstance(mine, Tensor):
                            mine.detach().copy_(new)


class TapeRecorder:
    """In place of `CudaRecorder`. Making a recording is its first update; each playing spoils the outcomes of all others."""

    num_recordings = 0

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        with Tape() as tape:
            outcome = function()
        self.outcomes.append(outcome)
        TapeRecorder.num_recordings += 1
        is_first = True

        def replay() -> None:
            nonlocal is_first
            for sums, skipped in [other for other in self.outcomes if other is not outcome or not is_first]:
                skipped.fill_(True)
                for vector in sums.vectors.values():
                    vector.fill_(torch.nan)
            if not is_first:
                tape.play()
            is_first = False

        return replay, outcome


def graphs_on_tape(trainer: Trainer) -> PhaseGraphs:
    return PhaseGraphs(trainer.update, TapeRecorder())


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


def distance(one: Trainer, other: Trainer, start: Trainer) -> float:
    """Between the weights of two trainers, over the way that the first has gone."""
    return float((weights(one) - weights(other)).norm() / (weights(one) - weights(start)).norm())


@pytest.mark.parametrize("method", METHODS)
def test_recordings_train_as_plain_updates_do(method: str) -> None:
    """But for the rates, which recordings hold in float32."""
    config = config_of(method, "training.device=cpu", "training.precision=float64")
    start, plain, recorded = trained(config, 0), trained(config, STEPS), trained(config, STEPS, graphs_on_tape)
    assert recorded.graphs is not None and len(recorded.graphs.recordings) >= len(plain.phases)
    assert distance(plain, recorded, start) < 0.001
    assert recorded.scalars.means() == pytest.approx(plain.scalars.means(), rel=0.01, abs=1e-6)
    assert torch.equal(plain.nonfinite.table, recorded.nonfinite.table)


def test_a_form_is_recorded_once_whatever_is_drawn() -> None:
    """With and without mixing D and G have a recording each, though layers mix from another one on in every step."""
    config = config_of("sarigan", "training.device=cpu", "objective.r1_gamma=0", "objective.path_length_weight=0")
    trainer = trained(config, STEPS, graphs_on_tape)
    assert [phase.name for phase in trainer.phases] == ["discriminator", "generator", "grouping"]
    graphs = trainer.graphs
    assert graphs is not None and len(graphs.recordings) == 5 and set(graphs.num_plain.values()) == {WARM_UP}


def test_adam_is_recordable_only_meanwhile() -> None:
    """A checkpoint of the optimiser holds numbers, as without recordings."""
    seen: list[Any] = []

    def record(function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        for optimizer in trainer.system.optimizers.values():
            seen.extend((group["lr"], group["capturable"]) for group in optimizer.param_groups)
        raise KeyboardInterrupt

    config = config_of("sarigan", "training.device=cpu", "training.precision=float64")
    trainer = trained(config, WARM_UP, lambda trainer: PhaseGraphs(trainer.update, record))
    before = [optimizer.state_dict()["param_groups"] for optimizer in trainer.system.optimizers.values()]
    batches = random_batches(trainer)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(STEPS):
            trainer.train_step(batches)
    (rate,) = [rate for rate, capturable in seen if capturable]
    assert rate.dtype == torch.float32  # the fused Adam of a GPU takes no other
    assert before == [optimizer.state_dict()["param_groups"] for optimizer in trainer.system.optimizers.values()]


class OneRollBack(Supervisor, Hook):
    """After ten steps the state is that of a checkpoint of now: the optimisers get new tensors."""

    was_rolled_back = False

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step == 10 and not self.was_rolled_back:
            raise NonfiniteError("in a test")

    def roll_back(self, trainer: Trainer, error: NonfiniteError) -> bool:
        self.was_rolled_back = True
        state = trainer.state.state_dict()
        trainer.state.load_state_dict(state, "checkpoint")
        return True


def test_a_run_records_and_does_so_anew_after_a_roll_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CudaRecorder", TapeRecorder)
    monkeypatch.setattr(TapeRecorder, "num_recordings", 0)
    trainers, numbers = [], []
    for graphs in ("false", "true"):
        config, dataset = config_of(
            "sarigan", "training.device=cpu", "training.precision=float64", "training.total_kimg=0.2",
            f"training.cuda_graphs={graphs}", "objective.mixing_probability=0",
        ).open_data()  # fmt: skip
        once = OneRollBack()
        trainers.append(Trainer(TrainingState(config, resolve_precision(config.training)), dataset, [once], once))
        trainers[-1].run()
        numbers.append(TapeRecorder.num_recordings)
    plain, recorded = trainers
    assert plain.state.step == recorded.state.step == 25
    assert numbers == [0, 2 * len(plain.phases)]
    assert distance(plain, recorded, trained(plain.state.config, 0)) < 0.001


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_graphs_of_a_gpu_train_as_plain_updates_do(method: str) -> None:
    """In float64: in float32 Adam blows up what the order of sums leaves of gradients that are zero."""
    config = config_of(method, "training.device=cuda", "training.precision=float64")
    start, plain = trained(config, 0), trained(config, STEPS)
    recorded = trained(config, STEPS, lambda trainer: PhaseGraphs(trainer.update, CudaRecorder()))
    assert recorded.graphs is not None and len(recorded.graphs.recordings) >= len(plain.phases)
    assert distance(plain, recorded, start) < 0.001
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


def test_neither_several_processes_nor_the_doctor_pass_it_by() -> None:
    config = config_of("sarigan", "training.cuda_graphs=true", "training.device=cpu")
    with pytest.raises(InputError, match="is for one process, this run has 2"):
        check_cuda_graphs(config.training, torch.device("cuda"), 2)
    with pytest.raises(InputError, match="needs a GPU, the run is on cpu"):
        list(doctor.dry_run(config))
