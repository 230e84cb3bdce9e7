"""README and docs name files, modules, commands and options that exist."""

import re
from pathlib import Path

import pytest
from process_tools import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# Changes tell of modules of earlier versions.
CHECKED = [page for page in PAGES if page.name != "CHANGELOG.md"]
PLACEHOLDERS = {"NAME.py", "COMMAND.py", "utils.py"}


def names(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", CHECKED, ids=names)
def test_named_files_exist(page: Path) -> None:
    files = [path.as_posix() for top in ("sarigan", "ops", "scripts", "tests") for path in (ROOT / top).rglob("*.*")]
    named = {name.strip("./") for name in re.findall(r"[\w/.-]+\.(?:py|sh|h|cpp|cu)\b", page.read_text())}
    named |= set(re.findall(r"configs/\w+\.yaml", page.read_text())) - {"configs/CONFIG.yaml"}
    missing = [
        name
        for name in sorted(named)
        if Path(name).name not in PLACEHOLDERS
        and not (ROOT / name).is_file()
        and not any(file.endswith(f"/{name}") for file in files)
    ]
    assert missing == []


@pytest.mark.parametrize("page", CHECKED, ids=names)
def test_named_modules_exist(page: Path) -> None:
    for name in re.findall(r"\bsarigan(?:\.[a-z_0-9]+)+", page.read_text()):
        path = ROOT / name.replace(".", "/")
        # Perhaps the last part is a name in the module.
        parts = (path, path.with_suffix(".py"), path.parent.with_suffix(".py"))
        assert any(part.exists() for part in parts), name


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", CHECKED, ids=names)
def test_options_of_commands_exist(page: Path) -> None:
    sources = "".join(path.read_text() for top in ("sarigan", "ops") for path in (ROOT / top).rglob("*.py"))
    lines = re.sub(r"\\\n\s*", "", page.read_text()).splitlines()
    wrong = []
    for line in lines:
        for command, rest in re.findall(r"(?:python scripts/|\bsarigan )(\w+)(?:\.py)?([^`#|]*)", line):
            if command != "launch":  # it takes torchrun's
                wrong += [option for option in re.findall(r"--[a-z-]+", rest) if f'"{option}"' not in sources]
    assert wrong == []
