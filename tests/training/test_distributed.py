"""Several processes (gloo) against one: the same batch gives the same weights, and a resumed run the same bits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from process_tools import ROOT, run_ranks
from torch import Tensor

from sarigan.config import Config
from sarigan.data.loader import open_dataset
from sarigan.files.checkpoint import best_entry, checkpoint_path, load_checkpoint
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.training.trainer import Trainer

Build = Callable[..., Any]
JOBS = Path(__file__).with_name("process_group_jobs.py")
BATCH, STEPS, STOP = 32, 5, 3


@pytest.fixture(scope="module")
def config_of(tiny_config: Build, png_folder: Path) -> Callable[..., Config]:
    """A run of 32 images a step from 24 images, so that every stop is in the middle of an epoch."""

    def build(steps: int, *overrides: str) -> Config:
        return tiny_config(
            "data.name=folder", f"data.path={png_folder}", f"training.batch_size={BATCH}",
            f"training.total_kimg={steps * BATCH / 1000}", *overrides,
        )  # fmt: skip

    return build


# p grows in every step, as the mean sign over all ranks says.
AUGMENTED = [
    "training.augmentation.name=ada", "training.augmentation.transforms=[bgcfnc]", "training.augmentation.interval=1",
    "training.augmentation.target=-0.9", "training.augmentation.speed_kimg=0.2",
]  # fmt: skip
# float64, several ranks and rounds against one: every shard holds a multiple of 4 images.
EQUAL = {
    "one-round": ["training.precision=float64"],
    "two-rounds": ["training.precision=float64", "training.accumulation_rounds=2"],
    "halves": ["training.precision=float64", "objective.mixing_kind=halves", "objective.information_target=codes",
               "objective.path_length_batch_shrink=16"],  # 2 latents: fewer than 4 ranks  # fmt: skip
    "block-diagonal": ["training.precision=float64", "generator.grouping.kind=block_diagonal"],
    "augmented": ["training.precision=float64", *AUGMENTED],
    "activation": ["training.precision=float64", "generator.grouping.kind=activation", "training.accumulation_rounds=2"],
}  # fmt: skip
# float64, with and without metrics beside the training.
METRICS = ["metrics.names=[fd_efficientnet,information]", "metrics.interval_kimg=0.096", "metrics.num_images=12"]
# float32, stopped after 3 steps against not stopped.
RESUMED = {"plain": ["training.precision=float32"], "rounds": ["training.accumulation_rounds=2", "data.num_workers=1"],
           "augmented": ["training.precision=float32", *AUGMENTED],
           "activation": ["generator.grouping.kind=activation"]}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, config_of: Build) -> Callable[[int], Path]:
    """ran(ranks): the folder with the run directories of all jobs; the processes are started once."""
    done: dict[int, Path] = {}

    def run(num_ranks: int) -> Path:
        if num_ranks in done:
            return done[num_ranks]
        folder = tmp_path_factory.mktemp(f"ranks{num_ranks}")

        def job(name: str, *configs: Config) -> dict[str, Any]:
            files = [folder / f"{name}-{index}.yaml" for index in range(len(configs))]
            for file, config in zip(files, configs, strict=True):
                file.write_text(config.to_yaml())
            paths = [str(file) for file in files]
            return {"run_dir": str(folder / name), "configs": paths, "unlike_gradients": name == "unlike"}

        jobs = [job(name, config_of(STEPS, *overrides)) for name, overrides in EQUAL.items()]
        for name, overrides in RESUMED.items():
            jobs.append(job(f"whole-{name}", config_of(STEPS, *overrides)))
            jobs.append(job(f"stopped-{name}", config_of(STOP, *overrides), config_of(STEPS, *overrides)))
        jobs.append(job("started", config_of(STOP, *EQUAL["one-round"])))
        if num_ranks == 2:
            jobs.append(job("evaluated", config_of(STEPS, *EQUAL["one-round"], *METRICS)))
            jobs.append(job("unlike", config_of(STEPS, *EQUAL["one-round"])))
        (folder / "jobs.json").write_text(json.dumps(jobs))
        for ended in run_ranks(folder / "ranks", *[[JOBS, folder / "jobs.json"]] * num_ranks):
            assert ended.code == 0, ended.errors
        done[num_ranks] = folder
        return folder

    return run


def weights(run_dir: Path) -> dict[str, Tensor]:
    state = load_checkpoint(checkpoint_path(run_dir / "checkpoints", STEPS))
    found = {f"{part}.{k}": v for part in ("generator", "discriminator", "ema_generator") for k, v in state[part].items()}
    return found | {name: state[name] for name in ("mean_path_length", "augmentation") if name in state}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= 1e-9 * value.abs().max().clamp_min(1), name


@pytest.fixture(scope="module")
def single(config_of: Build, tiny_state: Build, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Tensor]]:
    """single(overrides): the weights after 5 steps of one process and one round."""

    def run(overrides: list[str]) -> dict[str, Tensor]:
        config = config_of(STEPS, *overrides, "training.accumulation_rounds=1")
        folder = tmp_path_factory.mktemp("single")
        hooks = [CheckpointHook(folder / "checkpoints", 100, 1)]
        trainer = Trainer(tiny_state(config), open_dataset(config.data, 8), hooks)
        trainer.run()
        scalars = trainer.scalars.means()
        assert {"loss/discriminator", "loss/r1", "loss/generator", "loss/path_length"} <= scalars.keys()
        return weights(folder)

    return run


@pytest.mark.parametrize("name", EQUAL)
def test_two_and_four_processes_equal_one(name: str, ran: Callable[[int], Path], single: Build) -> None:
    """Five steps with every phase, float64."""
    expected = single(EQUAL[name])
    for num_ranks in (2, 4):
        assert_close(weights(ran(num_ranks) / name), expected)


def test_unlike_gradients_of_the_groups_are_averaged(ran: Callable[[int], Path], single: Build) -> None:
    """What differs between two ranks cancels in the mean: both end with the logits of one process (the job compares them)."""
    assert_close(weights(ran(2) / "unlike"), single(EQUAL["one-round"]))


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_a_resumed_run_is_bit_identical(name: str, num_ranks: int, ran: Callable[[int], Path]) -> None:
    whole, stopped = weights(ran(num_ranks) / f"whole-{name}"), weights(ran(num_ranks) / f"stopped-{name}")
    assert [key for key, value in whole.items() if not torch.equal(value, stopped[key])] == []
    assert checkpoint_path(ran(num_ranks) / f"stopped-{name}" / "checkpoints", STOP).exists()


def test_another_number_of_processes_goes_on_with_the_same_images(
    ran: Callable[[int], Path], single: Build, config_of: Build, tiny_state: Build, tmp_path: Path
) -> None:
    """Three steps by four processes, two more by one: the weights of one process throughout."""
    from sarigan.runs.run import train

    shutil.copytree(ran(4) / "started", tmp_path / "run")
    train(config_of(STEPS, *EQUAL["one-round"]), tmp_path / "run")
    assert_close(weights(tmp_path / "run"), single(EQUAL["one-round"]))


def test_ranks_log_one_line_a_tick(ran: Callable[[int], Path]) -> None:
    """Rank 0 alone writes, and what it writes are means over all ranks."""
    lines = [json.loads(line) for line in (ran(2) / "one-round" / "log.jsonl").read_text().splitlines()]
    four = [json.loads(line) for line in (ran(4) / "one-round" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5] == [line["step"] for line in four]
    for two_ranks, four_ranks in zip(lines, four, strict=True):
        for name in ("loss/discriminator", "loss/generator", "logits/real", "loss/grouping_mse"):
            assert two_ranks[name] == pytest.approx(four_ranks[name], rel=1e-9), name
    files = [ran(num_ranks) / "halves" / "log.jsonl" for num_ranks in (2, 4)]
    lines, four = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    for two_ranks, four_ranks in zip(lines, four, strict=True):  # two of the four had no image of path length
        for name in {"loss/path_length", "path_length/mean"} & two_ranks.keys():
            assert two_ranks[name] == pytest.approx(four_ranks[name], rel=1e-9), name
    assert sum("loss/path_length" in line for line in lines) >= 2


def test_metrics_during_training(ran: Callable[[int], Path]) -> None:
    """Two processes measure together, mark the best checkpoint, and train to the last bit as without."""
    run_dir, plain = ran(2) / "evaluated", weights(ran(2) / "one-round")
    assert [key for key, value in weights(run_dir).items() if not torch.equal(value, plain[key])] == []
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["metrics/fd_efficientnet"] for line in lines if "metrics/fd_efficientnet" in line}
    assert list(measured) == [0, 3, 5]
    best = best_entry(run_dir / "checkpoints")
    assert best is not None and best["step"] == min(measured, key=lambda step: measured[step])


def test_a_run_directory_on_the_wrong_machine(ran: Callable[[int], Path], config_of: Build, tmp_path: Path) -> None:
    """Rank 1 sees the run, rank 0, which would begin anew, does not."""
    file = tmp_path / "config.yaml"
    file.write_text(config_of(STEPS, *EQUAL["one-round"]).to_yaml())
    arguments = [ROOT / "scripts" / "train.py", "--config", file, "--run-dir"]
    results = run_ranks(tmp_path / "ranks", [*arguments, tmp_path / "new"], [*arguments, ran(2) / "started"])
    assert [ended.code for ended in results] == [2, 2], results
    (line,) = [line for ended in results for line in ended.errors.splitlines() if line.startswith("error: ")]
    assert f"checkpoint-{STOP:08d}.pt is there on" in line and "sees no checkpoint; put the run directory" in line
    assert not any("Traceback" in ended.errors for ended in results) and not (tmp_path / "new" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("training.seed=5", "rank 1 has another configuration than rank 0: training.seed (0 on rank 0, 5 there)"),
        ("training.seed=five", "rank 1: argument 'training.seed=five'"),
    ],
)
def test_one_rank_that_differs_ends_all_with_one_line(override: str, part: str, config_of: Build, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(config_of(STEPS).to_yaml())
    arguments = [ROOT / "scripts" / "train.py", "--config", file, "--run-dir", tmp_path / "run"]
    results = run_ranks(tmp_path / "ranks", arguments, [*arguments, override])
    assert [ended.code for ended in results] == [2, 2], results
    (line,) = [line for ended in results for line in ended.errors.splitlines() if line.startswith("error: ")]
    assert part in line and line in results[0].errors and not (tmp_path / "run").exists()
    assert not any("Traceback" in ended.errors for ended in results)
