"""The habits of the house: import layers, lint, types, docstrings, one concept a file."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from process_tools import DEADLINE

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("sarigan", "ops", "scripts") for path in (ROOT / folder).rglob("*.py"))


def run(project_root: Path, *command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=project_root, capture_output=True, text=True, timeout=2 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_layers(project_root: Path) -> None:
    run(project_root, "-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())")


def test_no_import_circles() -> None:
    """Neither between folders, which the layers forbid, nor between the files of one folder."""
    graph = grimp.build_graph("sarigan", "ops")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    list(graphlib.TopologicalSorter(imports).static_order())  # CycleError names the circle


def test_ruff(project_root: Path) -> None:
    run(project_root, "-m", "ruff", "check", ".")


def test_mypy(project_root: Path) -> None:
    run(project_root, "-m", "mypy")


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Public functions and classes of a module. Methods: those that a caller can see and that override nothing here."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    # forward, describe and dunder methods are documented by the class or the protocol they serve.
                    if isinstance(member, ast.FunctionDef) and member.name not in ("forward", "describe"):
                        if member.name.startswith("_"):
                            continue
                        yield f"{node.name}.{member.name}", member


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings(path: Path) -> None:
    text = path.read_text()
    if not text.strip():
        assert path.name == "__init__.py"
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the module has none"
    # Of `Hook`, `Supervisor`, `System`, `RunConfig`, `Grouping`, `Source`, `Metric`, `ImageSet`, `Change`: documented there.
    overrides = {"before_training", "after_step", "after_training", "scan", "load", "read", "stamp"}
    overrides |= {"check", "requests", "compute", "add_arguments", "batches", "activations", "weights"}
    overrides |= {"report_position", "report_stop", "roll_back", "resolution", "shard_multiple", "build", "tiny", "method"}
    overrides |= {"separate_parameters", "sample_images", "log_values", "notes", "evaluation_inputs", "report_sections"}
    overrides |= {"report_curves", "loss", "kernel_loss", "statistics"}
    overrides |= {"class_names", "with_classes", "example_batch", "begin_step", "image_size", "prepare_to_save"}
    overrides |= {"load_layouts", "load_state_dict"}
    overrides |= {"amount", "text", "place", "moved", "with_amount", "faded", "target"}
    missing = [
        name
        for name, node in public_definitions(tree)
        if not ast.get_docstring(node)
        and name.split(".")[-1] not in overrides
        and not (path.parent.name == "commands" and name == "main")  # the module's docstring says what it does
    ]
    assert missing == []


def test_pictures_are_opened_in_named_formats() -> None:
    """Left to choose, Pillow starts Ghostscript for PostScript, whatever the file is called."""
    calls = [
        (path, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    careless = [path.name for path, node in calls if "formats" not in [keyword.arg for keyword in node.keywords]]
    assert calls and careless == []


def test_no_file_without_a_concept() -> None:
    forbidden = {"utils.py", "util.py", "misc.py", "common.py", "helpers.py", "networks.py"}
    assert [path for path in SOURCES if path.name in forbidden] == []


def test_files_hold_one_concept() -> None:
    """A file of over 300 lines wants splitting."""
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in long.items() if count > 300} == {}


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
