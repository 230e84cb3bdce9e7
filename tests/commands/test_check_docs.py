"""The script that runs the commands of the pages."""

import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PAGE = """Text `python no.py`.

```bash
# a comment of its own
python -c "print(1)"      # 5 s: prints
python -c "print(2)" \\
    --more                # never marked
exit 3                    # 0.5 min: fails
sleep 30                  # 0.1 s
bash -c "sleep 1; touch {place}"; true  # 0.1 s: of the shell's own
```

```python
print(4)  # 1 s
```
"""


@pytest.fixture
def script(project_root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("check_docs", project_root / "scripts" / "check_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_docs"] = module
    spec.loader.exec_module(module)
    return module


def test_commands_and_times_of_a_page(script: Any) -> None:
    found = list(script.commands_of("page.md", PAGE))
    assert [(c.line, c.seconds) for c in found] == [(5, 5.0), (6, None), (8, 30.0), (9, 0.1), (10, 0.1)]
    assert found[1].text == 'python -c "print(2)" --more                # never marked'


def test_failures_and_slow_commands_are_named(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert script.main([str(page), "--match", "print"]) == 0
    assert "ok    page.md:5" in capsys.readouterr().out
    assert script.main([str(page), "--match", "exit"]) == 1
    assert "exit code 3 after 0 s of 30" in capsys.readouterr().out
    assert script.main([str(page), "--match", "sleep 30"]) == 1
    assert "took more than 0 s, twice what the page states" in capsys.readouterr().out


def test_nothing_goes_on_when_the_time_is_over(script: Any, tmp_path: Path) -> None:
    page, place = tmp_path / "page.md", tmp_path / "touched"
    page.write_text(PAGE.replace("{place}", str(place)))
    assert script.main([str(page), "--match", "touch"]) == 1
    time.sleep(1.5)
    assert not place.exists()


def test_no_command_stands_outside_of_a_bash_fence(project_root: Path) -> None:
    for page in (project_root / "README.md", *(project_root / "docs").glob("*.md")):
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            commands = re.findall(r"^(?:python|sarigan|bash|torchrun) .*", body, re.MULTILINE)
            assert language == "bash" or not commands, f"{page.name}: {commands}"


def test_the_pages_have_runnable_commands(script: Any, project_root: Path) -> None:
    found = [c for page in ("README.md",) for c in script.commands_of(page, (project_root / page).read_text())]
    assert sum(command.seconds is not None for command in found) >= 2
