"""The script that runs the commands of the pages."""

import importlib.util
import io
import re
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PAGE = """Text `python no.py`.

```bash
# a comment of its own
python -c "print(1)"      # 5 s: prints
python -c "print(2)" \\
    --more                # never marked
exit 3                    # 0.5 min: fails
sleep 30                  # 0.1 s
bash -c "sleep 1; touch {place}"; true  # 0.1 s: of the shell's own
for i in 1 2; do
  echo $i
done                      # about 3 min
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
    assert [(c.line, c.seconds) for c in found] == [(5, 5.0), (6, None), (8, 30.0), (9, 0.1), (10, 0.1), (11, None)]
    assert found[5].text.startswith("for i in 1 2; do echo $i; done ") and found[5].tells_time and not found[1].tells_time
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


def test_every_command_tells_its_time(script: Any, project_root: Path) -> None:
    """In seconds or minutes it is run by scripts/check_docs.py; after `about`, or in hours and days, it is only told."""
    untold = []
    for page in (project_root / "README.md", *sorted((project_root / "docs").glob("*.md"))):
        untold += [f"{c.page}:{c.line}: {c.text}" for c in script.commands_of(page.name, page.read_text()) if not c.tells_time]
    assert not untold, "no `# 20 s`, `# about 5 min`, `# 2 h` behind: " + "\n".join(untold)


def test_commands_of_pages_run(script: Any, project_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that take seconds and need no training: images of the package's model, and a set of photographs."""
    photos = tmp_path / "photos.zip"
    with zipfile.ZipFile(photos, "w") as archive:
        for index in range(4):
            picture = io.BytesIO()
            Image.effect_noise((128 + index, 128), 64).save(picture, "PNG")
            archive.writestr(f"{index}.png", picture.getvalue())
    slow = ["--time-scale", "100"]
    sharing, datasets = (str(project_root / "docs" / name) for name in ("sharing.md", "datasets.md"))
    assert script.main([sharing, "--match", "generate.py avatars_64", *slow]) == 0
    assert script.main([datasets, "--match", "datasets/mine ", "--place", f"photos.zip={photos}", *slow]) == 0
    ran = re.findall(r"^ok    (\S+?):", capsys.readouterr().out, re.MULTILINE)
    assert ran == ["sharing.md"] + 3 * ["datasets.md"]


def test_the_pages_have_runnable_commands(script: Any, project_root: Path) -> None:
    found = [c for page in ("README.md",) for c in script.commands_of(page, (project_root / page).read_text())]
    assert sum(command.seconds is not None for command in found) >= 2
