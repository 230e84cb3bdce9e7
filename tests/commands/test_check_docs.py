"""The script that runs the commands of the pages."""

import importlib.util
import sys
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
    assert [(c.line, c.seconds) for c in found] == [(5, 5.0), (6, None), (8, 30.0), (9, 0.1)]
    assert found[1].text == 'python -c "print(2)" --more                # never marked'


def test_failures_and_slow_commands_are_named(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert script.main([str(page), "--match", "print"]) == 0
    assert "ok    page.md:5" in capsys.readouterr().out
    assert script.main([str(page), "--match", "exit"]) == 1
    assert "exit code 3 after 0 s of 30" in capsys.readouterr().out
    assert script.main([str(page), "--match", "sleep"]) == 1
    assert "took more than 0 s, twice what the page states" in capsys.readouterr().out


def test_the_pages_have_runnable_commands(script: Any, project_root: Path) -> None:
    found = [c for page in ("README.md",) for c in script.commands_of(page, (project_root / page).read_text())]
    assert sum(command.seconds is not None for command in found) >= 2
