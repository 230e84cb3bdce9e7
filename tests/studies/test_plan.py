"""The runs of a study: their names, hashes and commands, and when they are trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path
from sarigan.studies.plan import chosen, leftovers, plan
from sarigan.studies.slots import slots
from sarigan.studies.slurm import slurm_array
from sarigan.studies.study import read_study

Write = Callable[..., Path]


def test_every_variant_with_every_seed(write_study: Write, tmp_path: Path) -> None:
    runs = plan(read_study(write_study()), tmp_path)
    assert [(run.variant.name, run.seed) for run in runs] == [
        ("random", 0), ("contiguous", 0), ("random", 1), ("contiguous", 1),
    ]  # fmt: skip
    assert [run.config.training.seed for run in runs] == [0, 0, 1, 1]
    assert {run.config.training.total_kimg for run in runs} == {0.04}
    assert len({run.name for run in runs}) == 4


def test_a_budget_of_minutes(write_study: Write, tmp_path: Path) -> None:
    run = plan(read_study(write_study(budget={"minutes": 2})), tmp_path)[0]
    assert run.config.training.max_minutes == 2
    checkpoints = run.run_dir / "checkpoints"
    checkpoints.mkdir(parents=True)
    checkpoint_path(checkpoints, 7).touch()
    log = run.run_dir / "log.jsonl"
    log.write_text(json.dumps({"step": 7, "kimg": 0.056, "seconds": 119.9}) + "\n")
    assert not run.is_trained()
    log.write_text(json.dumps({"step": 7, "kimg": 0.056, "seconds": 120.0}) + "\n")
    assert run.is_trained()
    checkpoint_path(checkpoints, 7).unlink()
    checkpoint_path(checkpoints, 6).touch()  # the last one was damaged: the log is ahead
    assert not run.is_trained()


def test_a_run_is_trained_when_its_newest_checkpoint_is_the_last(write_study: Write, tmp_path: Path) -> None:
    run = plan(read_study(write_study()), tmp_path)[0]
    checkpoints = run.run_dir / "checkpoints"
    checkpoints.mkdir(parents=True)
    assert not run.is_trained()
    checkpoint_path(checkpoints, 4).touch()
    assert not run.is_trained()
    checkpoint_path(checkpoints, 5).touch()  # 5 steps of 8 images
    assert run.is_trained()


def test_another_configuration_is_another_run_and_bookkeeping_is_not(write_study: Write, tmp_path: Path) -> None:
    def name(*overrides: str) -> str:
        values = {"config": config, "overrides": list(overrides)}
        return plan(read_study(write_study(variants={"a": values}, seeds=[0])), tmp_path)[0].name

    config = str(Path(__file__).resolve().parents[2] / "configs" / "avatars_64_sarigan.yaml")
    assert name() == name("training.tick_kimg=1", "data.num_workers=3", "metrics.names=[groups]", "training.device=auto")
    assert len({name(), name("objective.r1_gamma=3"), name("training.precision=bfloat16"), name("data.flip=false")}) == 4


def test_a_hash_does_not_depend_on_settings_that_have_their_default(write_study: Write, tmp_path: Path) -> None:
    """So that a later version, which has more settings, knows the runs of this one."""
    run = plan(read_study(write_study()), tmp_path)[0]
    assert run.config_hash == plan(read_study(write_study()), tmp_path / "elsewhere")[0].config_hash
    changed = plan(read_study(write_study(overrides=[f"{text}" for text in run.variant.overrides] + ["data.seed=0"])), tmp_path)
    assert changed[0].config_hash == run.config_hash


def test_equal_variants_are_refused(write_study: Write, tmp_path: Path) -> None:
    config = {"config": str(Path(__file__).resolve().parents[2] / "configs" / "avatars_64_random.yaml")}
    with pytest.raises(InputError, match="variants a and b are the same configuration"):
        plan(read_study(write_study(variants={"a": config, "b": config})), tmp_path)


def test_a_field_that_does_not_exist_is_named_with_its_variant(write_study: Write, tmp_path: Path) -> None:
    study = read_study(write_study(overrides=["generator.colour=1"]))
    with pytest.raises(InputError, match=r"study.yaml: variants.random: argument 'generator.colour=1'.*colour"):
        plan(study, tmp_path)


def test_a_record_and_other_data(write_study: Write, tmp_path: Path, png_folder: Path) -> None:
    run = plan(read_study(write_study()), tmp_path / "out")[0]
    run.folder.mkdir(parents=True)
    run.begin()
    run.begin()
    record = run.record()
    assert (record["variant"], record["seed"], record["config_hash"]) == ("random", 0, run.config_hash)
    assert len(record["commits"]) == 1 and record["data_key"]
    (run.folder / "record.json").write_text(json.dumps(record | {"data_key": "cats"}))
    with pytest.raises(InputError, match="began with the data 'cats', which are .* now; put those back"):
        run.begin()


def test_missing_data(write_study: Write, tmp_path: Path) -> None:
    study = read_study(write_study(overrides=["data.name=folder", f"data.path={tmp_path / 'nowhere'}"]))
    with pytest.raises(InputError, match="nowhere"):
        plan(study, tmp_path)[0].begin()


def test_runs_are_chosen_by_name(write_study: Write, tmp_path: Path) -> None:
    runs = plan(read_study(write_study()), tmp_path)
    assert chosen(runs, []) == runs
    assert [run.seed for run in chosen(runs, ["random"])] == [0, 1]
    assert chosen(runs, ["random-seed1", runs[0].name]) == [runs[2], runs[0]]
    with pytest.raises(InputError, match="no run or variant 'cats'; the variants are random, contiguous"):
        chosen(runs, ["cats"])


def test_old_results_of_a_changed_configuration_are_told(write_study: Write, tmp_path: Path) -> None:
    old = plan(read_study(write_study()), tmp_path / "out")[0]
    old.folder.mkdir(parents=True)
    old.begin()
    new = plan(read_study(write_study(budget={"kimg": 1})), tmp_path / "out")
    assert leftovers(new, tmp_path / "out") == [old.name]


def test_several_processes_go_through_the_launcher(write_study: Write, tmp_path: Path) -> None:
    commands = plan(read_study(write_study(processes=8)), tmp_path)[0].commands()
    train = commands["training"]
    assert train[3:8] == ["launch", "--standalone", "--nproc_per_node=8", "-m", "sarigan"] and train[8] == "train"
    assert commands["evaluation"][3] == "evaluate" and list(commands) == ["training", "evaluation"]


def test_semantics_is_a_stage_of_its_own(write_study: Write, tmp_path: Path) -> None:
    """What was judged with other options is judged anew, and a run is finished when all its scores are there."""
    run, other = (plan(read_study(write_study(semantics=options)), tmp_path)[0] for options in (["--images=4"], []))
    assert run.commands()["semantics"][3:6] == ["semantics", str(run.run_dir), "--device"]
    assert run.semantics_dir is not None and run.name == other.name and run.semantics_dir != other.semantics_dir
    run.folder.mkdir()
    run.scores_path.write_text(json.dumps({"results": [{"name": "a", "value": 1.0}]}))
    assert run.scores() == {}
    test = {"score": 3.0, "null_mean": 1.0, "null_deviation": 0.5}
    model = {"mean": {"part IoU": {"its own": test, "k-means of kernels": test | {"score": 9.0}}}, "layers": {"4x4.conv": {}}}
    run.semantics_dir.mkdir()
    (run.semantics_dir / "semantics.json").write_text(json.dumps({"models": {"run": model}}))
    scores = run.scores()
    assert {name: result["value"] for name, result in scores.items()} == {
        "a": 1.0, "semantics_part_iou": 3.0, "semantics_part_iou_above_random": 4.0,
    }  # fmt: skip
    assert [stage.is_done() for stage in run.job().stages] == [False, True, True] and other.scores() == {}


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sarigan.studies.slots.num_cores", lambda: 6)
    assert slots(None, 1, []) == [{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}] * 6
    assert len(slots(None, 4, [])) == 1 and len(slots(3, 4, [])) == 3
    gpus = ["2", "3", "5"]
    assert slots(None, 1, gpus) == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("2", "3", "5")]
    assert slots(None, 2, gpus) == [{"CUDA_VISIBLE_DEVICES": "2,3"}]
    for number, processes, line in ((0, 1, "--jobs must be at least 1"), (None, 4, "a run has 4, this machine has 3 GPUs")):
        with pytest.raises(InputError, match=line):
            slots(number, processes, gpus)


def test_a_task_of_the_slurm_array_does_its_run(write_study: Write, tmp_path: Path) -> None:
    import subprocess
    import sys

    runs = plan(read_study(write_study()), tmp_path / "a folder")
    text = slurm_array(runs, tmp_path)
    assert "#SBATCH --array=0-3" in text
    script = tmp_path / "array.sh"
    script.write_text(text.replace(f"{sys.executable} -m sarigan study", "printf '<%s>'"))
    done = subprocess.run(
        ["bash", script], env={"SLURM_ARRAY_TASK_ID": "2", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"<--folder><{tmp_path / 'a folder'}><--jobs><1><--only><{runs[2].name}>")
