"""`sarigan.from_pretrained`: a folder, a model of the package, or the hub, which a fake module stands for."""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from process_tools import DEADLINE, ROOT

import sarigan.exporting.shipped
from sarigan import from_pretrained
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME, save_exported
from sarigan.models.generator import Generator

Build = Callable[..., Any]
ALONE = """
import sys
for name in ("omegaconf", "lmdb", "tensorboard", "PIL", "tqdm", "scipy", "yaml", "torchvision"):
    sys.modules[name] = None
from sarigan import from_pretrained
print(from_pretrained(sys.argv[1]).config.resolution)
"""


@pytest.fixture
def generator(tiny_config: Build, tiny_state: Build) -> Generator:
    return tiny_state(tiny_config()).system.average.module


@pytest.fixture
def hub(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """A hub with one model, owner/faces, whose calls are kept; the working directory is empty."""
    cache, calls = tmp_path / "cache", []
    save_exported(generator, cache, {}, half=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    def hf_hub_download(repo_id: str, filename: str, *, revision: str | None = None) -> str:
        calls.append((repo_id, filename, revision))
        if repo_id != "owner/faces":
            raise RuntimeError("404 Client Error.\n\nRepository Not Found")
        return str(cache / filename)

    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = hf_hub_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def same(found: Generator, generator: Generator) -> bool:
    z = torch.randn(2, 8)
    difference = found(z, noise="fixed").images - generator(z, noise="fixed").images
    return found.config == generator.config and float(difference.abs().max()) < 0.05


def test_hub(hub: list[tuple[str, str, str | None]], generator: Generator) -> None:
    assert same(from_pretrained("owner/faces", revision="v1"), generator)
    assert sorted(hub) == [("owner/faces", CONFIG_NAME, "v1"), ("owner/faces", WEIGHTS_NAME, "v1")]


def test_what_is_here_is_not_asked_for(hub: list[Any], generator: Generator, tmp_path: Path) -> None:
    save_exported(generator, Path("owner/faces"), {})
    assert same(from_pretrained("owner/faces"), generator) and same(from_pretrained(tmp_path / "cache"), generator)
    assert hub == []


def test_a_model_of_the_package(hub: list[Any], generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarigan.exporting.shipped, "SHIPPED_FOLDER", tmp_path / "shipped")
    with pytest.raises(InputError, match="^avatars_32: this installation of sarigan has no weights of it"):
        from_pretrained("avatars_32")
    save_exported(generator, tmp_path / "shipped" / "avatars_32", {}, half=True)
    assert same(from_pretrained("avatars_32"), generator) and hub == []


def test_what_is_wrong_is_one_line(hub: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "owner/other": "owner/other: not a readable model on the Hugging Face hub (404 Client Error. Repository Not Found)",
        "faces": "faces: does not exist; give a folder that sarigan export wrote, a model of the package"
        " (avatars_64, avatars_32), or",
        "/owner/faces": "/owner/faces: does not exist",
        "../faces": "../faces: does not exist",
        "a/b/c": "a/b/c: does not exist",
    }
    for source, text in cases.items():
        with pytest.raises(InputError) as caught:
            from_pretrained(source)
        assert str(caught.value).startswith(text) and "\n" not in str(caught.value)
    assert [name for name, *_ in hub] == ["owner/other"]
    Path("folder").mkdir()
    with pytest.raises(InputError, match="an exported generator is generator.json beside generator.safetensors"):
        from_pretrained("folder")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        InputError, match="^owner/faces: no such folder; for the Hugging Face hub: pip install huggingface_hub$"
    ):
        from_pretrained("owner/faces")


def test_needs_nothing_that_training_needs(hub: list[Any], tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (0, "8\n"), done.stderr
