"""scripts/evaluate.py: a whole evaluation, and one clear line for every wrong input."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from process_tools import DEADLINE, run_ranks

from sarigan.config import Config
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.loader import open_images
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, save_checkpoint
from sarigan.metrics import perceptual_path_length
from sarigan.metrics.catalogue import Report
from sarigan.training.state import TrainingState


@pytest.fixture(scope="module")
def checkpoint(tiny_config: Callable, tiny_state: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one checkpoint of an 8 px generator."""
    config: Config = tiny_config()
    state: TrainingState = tiny_state(config)
    run = tmp_path_factory.mktemp("run")
    save_checkpoint(state.state_dict(), checkpoint_path(run / "checkpoints", 0))
    return run


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve 8x8 images."""
    folder = tmp_path_factory.mktemp("small")
    for index in range(12):
        noise = np.random.default_rng(index).normal(128, 20 + 10 * index, (8, 8)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).convert("RGB").save(folder / f"{index}.png")
    return folder


@pytest.fixture
def evaluate(project_root: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """evaluate(arguments): runs the script in an empty directory, with an empty cache."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        environment = {**os.environ, "SARIGAN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(project_root)}
        environment |= {"OMP_NUM_THREADS": "1", "TORCH_HOME": str(tmp_path / "hub")}
        command = [sys.executable, str(project_root / "scripts" / "evaluate.py"), "--num-workers", "0", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE)

    return run


@pytest.fixture(scope="module")
def main() -> Callable[[], None]:
    """The command's main function: as good as a process where nothing is computed, and faster."""
    return importlib.import_module("sarigan.commands.evaluate").main


def test_checkpoint(evaluate: Callable, checkpoint: Path, small_folder: Path, tmp_path: Path) -> None:
    done = evaluate(
        "--checkpoint", checkpoint, "--data", small_folder, "--metrics", "fd_efficientnet,precision_recall", "--num-images", 9
    )
    assert done.returncode == 0, done.stderr
    (file,) = (checkpoint / "evaluation").glob("checkpoint-00000000-*.json")
    results = json.loads(file.read_text())["results"]
    assert [r["name"] for r in results] == ["fd_efficientnet", "precision_efficientnet", "recall_efficientnet"]
    assert all(r["seen_kimg"] == 0 and r["num_images"] == 9 and r["num_real_images"] == 12 for r in results)
    assert f"{results[0]['value']:.6g}" in done.stdout and "img/s" in done.stderr
    assert len(list((tmp_path / "cache" / "statistics").iterdir())) == 2


def test_results_say_how_far_training_was(
    main: Callable[[], None], tiny_config: Callable, checkpoint: Path, small_folder: Path, tmp_path: Path
) -> None:
    seen_kimg, config = main.__globals__["seen_kimg"], tiny_config()
    later = checkpoint_path(tmp_path, 5)
    for path in (later, tmp_path / "mine.pt"):
        path.touch()
    assert seen_kimg(later, config) == 5 * config.training.batch_size / 1000
    assert seen_kimg(checkpoint, config) == 0  # the newest of the run
    assert seen_kimg(tmp_path / "mine.pt", config) is seen_kimg(later, None) is seen_kimg(None, None) is None


def test_results_about_a_set_of_images_go_to_out(main: Callable[[], None], checkpoint: Path) -> None:
    default_output = main.__globals__["default_output"]
    assert default_output(SimpleNamespace(checkpoint=None)).parent == Path("out")
    assert default_output(SimpleNamespace(checkpoint=checkpoint)).parent == checkpoint / "evaluation"


def test_a_gpu_is_named_by_its_index(
    main: Callable[[], None], checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--device cuda` is one that torch.cuda.set_device takes, which wants an index."""
    devices: list[object] = []

    def load(path: Path, device: torch.device) -> None:
        raise InputError(f"to be loaded to {device}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", devices.append, raising=False)
    monkeypatch.setitem(main.__globals__, "load_judged", load)
    for name, index in (("cuda", 0), ("auto", 0), ("cuda:1", 1)):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", "--checkpoint", str(checkpoint), "--device", name])
        with pytest.raises(SystemExit):
            main()
        assert f"to be loaded to cuda:{index}" in capsys.readouterr().err and devices[-1] == index


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "EMPTY", "--data", "SMALL"], "no images found"),
        (["--images", "SMALL", "--data", "PNG", "--metrics", "fd_efficientnet"],
         "the images are 8x8, the set 16x16: prepare PNG at 8 first (scripts/prepare_data.py PNG NEW --resolution 8)"),
        (["--images", "PNG", "--data", "SMALL"], "the images are 16x16, the set 8x8: prepare PNG at 8 first"),
        (["--images", "SMALL", "--data", "nowhere"], "nowhere"),
        (["--checkpoint", "RUN", "--data", "PNG", "--metrics", "fd_efficientnet"], "its images are 16x16, wanted 8x8"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--inception-weights", "WRONG", "--metrics", "fid"], "its SHA256 is"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--metrics", "fid", "--device", "gpu"], "--device must be"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--metrics", "nonsense"], "there is no 'nonsense'"),
        (["--checkpoint", "NOEMA", "--data", "SMALL", "--metrics", "fd_efficientnet"], "it has no 'ema_generator'"),
        (["--checkpoint", "EMPTY", "--data", "SMALL"], "holds no checkpoint"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--device", "meta"], "--device must be auto, cpu"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--metrics", ","], "--metrics must name at least one of fid, kid"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--truncation-psi", "nan"], "truncation_psi must be a finite number"),
        (["--checkpoint", "RUN", "--data", "SMALL", "--metrics", "fd_efficientnet", "--output", "BELOW"],
         "wrong.pth: cannot write there (File exists); name another place with --output"),
        (["--images", "SMALL", "--metrics", "fd_efficientnet"], "needs a data set to compare with (--data)"),
        (["--images", "SMALL", "--data", "SMALL", "--num-images", "3", "--metrics", "precision_recall"],
         "needs at least 4 images, got 3"),
        (["--images", "SMALL", "--data", "SMALL", "--num-images", "1", "--metrics", "kid_efficientnet"],
         "needs at least 2 images, got 1"),
    ],
)  # fmt: skip
def test_bad_input(
    main: Callable[[], None], checkpoint: Path, small_folder: Path, png_folder: Path, tmp_path: Path, arguments: list[str],
    message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.pth").write_text("not weights")
    state = torch.load(checkpoint_path(checkpoint / "checkpoints", 0), weights_only=True)
    del state["ema_generator"], state["format_version"]
    save_checkpoint(state, tmp_path / "no_ema.pt")
    places = {
        "EMPTY": tmp_path / "empty", "SMALL": small_folder, "PNG": png_folder, "RUN": checkpoint,
        "WRONG": tmp_path / "wrong.pth", "NOEMA": tmp_path / "no_ema.pt",
        "BELOW": tmp_path / "wrong.pth" / "x.json",
    }  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--num-workers", "0", *(str(places.get(a, a)) for a in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and line.startswith("error: ") and message.replace("PNG", str(png_folder)) in line


def test_a_table_is_printed_also_when_the_disk_fills_meanwhile(
    main: Callable[[], None], checkpoint: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise InputError("results.json: cannot write the results (No space left on device)")

    monkeypatch.setattr(Report, "write", full)
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    arguments = ["--checkpoint", checkpoint, "--data", small_folder, "--metrics", "groups", "--output", tmp_path / "x.json"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--premise-images", "4", "--num-workers", "0", *map(str, arguments)])
    with pytest.raises(SystemExit):
        main()
    captured = capsys.readouterr()
    assert "groups_separation" in captured.out and "error: results.json: cannot write" in captured.err


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (InputError("path length: the distance of sample 7 is not finite"), 2,
         "failed: ppl (path length: the distance of sample 7 is not finite)"),
        (RuntimeError("no convergence"), None, "failed: ppl (RuntimeError: no convergence)"),
        (KeyboardInterrupt(), 130, "failed: ppl (KeyboardInterrupt)"),
    ],
)  # fmt: skip
def test_metrics_that_were_finished_outlive_a_later_one(
    main: Callable[[], None], checkpoint: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], failure: BaseException, code: int | None, line: str,
) -> None:  # fmt: skip
    written = []

    def fail(*_: object) -> None:
        written.append(json.loads((tmp_path / "x.json").read_text()))
        raise failure

    monkeypatch.setattr(perceptual_path_length, "perceptual_path_length", fail)
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    arguments = ["--checkpoint", checkpoint, "--data", small_folder, "--output", tmp_path / "x.json", "--num-workers", "0"]
    arguments += ["--metrics", "groups,ppl,information", "--premise-images", "4"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    with pytest.raises(SystemExit if code else type(failure)) as caught:
        main()
    if code:
        assert caught.value.code == code
    output = capsys.readouterr().out
    assert "groups_separation" in output and line in output and "not computed: ppl, information" in output
    report = json.loads((tmp_path / "x.json").read_text())
    names = ["groups_separation", "groups_silhouette", "groups_size_entropy", "groups_premise"]
    # On disk before the failure, too: what kills a process leaves no time to write.
    assert all([result["name"] for result in found["results"]] == names for found in (*written, report)) and len(written) == 1
    assert f"failed: {report['failure']}" == line and report["missing"] == ["ppl", "information"]


def test_one_line_from_two_processes(project_root: Path, checkpoint: Path, small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    arguments = ["--checkpoint", checkpoint, "--data", small_folder, "--output", tmp_path / "file" / "x.json"]
    results = run_ranks(tmp_path / "ranks", *[[project_root / "scripts" / "evaluate.py", *arguments]] * 2)
    errors = [ended.errors for ended in results]
    assert [ended.code for ended in results] == [2, 2], errors
    lines = [line for text in errors for line in text.splitlines() if "error" in line]
    assert lines == [f"error: {tmp_path / 'file'}: cannot write there (File exists); name another place with --output"]


def test_endless_data_have_a_number_by_default(
    main: Callable[[], None], small_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    default_counts = main.__globals__["default_counts"]
    asked = SimpleNamespace(num_images=None, num_real_images=None)
    assert default_counts(asked, AvatarDataset(32)) == (10_000, 10_000)
    assert "avatars are endless: --num-images and --num-real-images 10000" in caplog.text
    caplog.clear()
    assert default_counts(SimpleNamespace(num_images=70, num_real_images=100_000), AvatarDataset(32)) == (70, 100_000)
    assert default_counts(asked, AvatarDataset(32, 500)) == (50_000, None)
    assert default_counts(asked, open_images(small_folder)) == default_counts(asked, None) == (50_000, None)
    assert caplog.text == ""
