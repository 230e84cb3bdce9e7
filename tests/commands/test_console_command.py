"""`sarigan COMMAND`, as it is installed: its list, its errors, what it imports and when, and what a wheel holds."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from process_tools import DEADLINE, ROOT

from sarigan.commands import COMMANDS

FOR_DEVELOPERS = {"check_docs", "build_avatar_atlas"}  # scripts that are no command


def run(arguments: Sequence[object], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE)


def test_help_lists_every_command_in_a_line_each() -> None:
    done = run(["-m", "sarigan", "--help"])
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_a_command_is_a_module_and_a_script() -> None:
    modules = {path.stem for path in (ROOT / "sarigan/commands").glob("*.py")} - {"__init__", "options"}
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")} - FOR_DEVELOPERS
    assert modules == scripts == set(COMMANDS)
    for name in scripts:
        assert f"from sarigan.commands.{name} import main\n" in (ROOT / f"scripts/{name}.py").read_text()


def test_dry_run(tiny_config: Callable[..., Any], png_folder: Path, tmp_path: Path) -> None:
    """The same as the script prints."""
    config = tmp_path / "config.yaml"
    config.write_text(tiny_config("data.name=folder", f"data.path={png_folder}", "data.crop=center").to_yaml())
    arguments = ["--config", config, "--run-dir", tmp_path / "run", "--dry-run"]
    done = run(["-m", "sarigan", "train", *arguments])
    assert done.returncode == 0 and "24 images" in done.stdout, done.stderr

    def untimed(text: str) -> list[str]:
        return [line for line in text.splitlines() if " a step on " not in line]

    again = run([ROOT / "scripts/train.py", *arguments]).stdout
    assert untimed(done.stdout) == untimed(again) and len(untimed(again)) == len(again.splitlines()) - 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("trian", "error: no command 'trian'; did you mean train?"),
        ("attention-map", "error: no command 'attention-map'; did you mean attention_maps?"),
        ("qqq\n", "error: no command 'qqq\\n'; see sarigan --help"),
    ],
)
def test_an_unknown_command_is_one_line(name: str, line: str) -> None:
    done = run(["-m", "sarigan", name, "--config", "x"])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line + "\n")


def test_usage_names_the_command() -> None:
    done = run(["-m", "sarigan", "prepare-data"])
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("sarigan prepare_data: error: ")


def test_help_does_not_wait_for_pytorch() -> None:
    code = "import sys; sys.argv[1:] = ['--help']; from sarigan.commands import main; main(); print('torch' in sys.modules)"
    assert run(["-c", code]).stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", ["train", "launch"])
def test_signals_are_handled_before_pytorch_is_imported(command: str) -> None:
    code = f"""
import signal, sys
class Finder:
    def find_spec(name, path, target=None):
        if name == "torch":
            print(signal.getsignal(signal.SIGTERM).__module__)
            sys.exit(0)
sys.meta_path.insert(0, Finder)
sys.argv = ["sarigan", "{command}"]
from sarigan.commands import main
main()
"""
    done = run(["-c", code])
    assert (done.returncode, done.stdout) == (0, "sarigan.runs.early_exit\n"), done.stderr


def test_what_an_installed_package_needs_and_holds(project_root: Path) -> None:
    """pytest is for the repository; data files are found in the folders where the code looks for them."""
    code = """
import json, setuptools
from distutils.core import run_setup
package = run_setup("setup.py", ["-q"], stop_after="commandline")
build = package.get_command_obj("build_py")
build.ensure_finalized()
data = [f"{folder.replace('.', '/')}/{name}" for folder, _, _, names in build.data_files for name in names]
print(json.dumps([package.install_requires, package.extras_require["dev"], package.entry_points, package.packages, data]))
"""
    needs, development, entries, packages, data = json.loads(run(["-c", code], project_root).stdout.splitlines()[-1])
    assert not [line for line in needs if line.startswith("pytest")] and any(line.startswith("torch>") for line in needs)
    assert any(line.startswith("pytest>") for line in development)
    assert any(line.startswith("pytest>") for line in (project_root / "requirements.txt").read_text().splitlines())
    assert entries == {"console_scripts": ["sarigan = sarigan.commands:main"]}
    folders = {path.parent for top in ("sarigan", "ops") for path in (project_root / top).rglob("*.py")}
    assert {name.replace(".", "/") for name in packages} == {path.relative_to(project_root).as_posix() for path in folders}
    others = {
        path.relative_to(project_root).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "prebuilt" not in path.parts
    }
    assert set(data) == others
