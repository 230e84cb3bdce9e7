"""A checkpoint that the code before systems wrote (tests/files/data) is read, and goes on."""

import shutil
from pathlib import Path
from typing import Any

import torch

from sarigan.config import Config, load_config
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.resume import resume_from_newest
from sarigan.runs.run import train
from sarigan.systems.style.system import StyleConfig
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState

OLD = Path(__file__).resolve().parents[1] / "files" / "data" / "checkpoint_before_systems.pt"


def run_with_it(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "checkpoint-00000010.pt"
    shutil.copy(OLD, path)
    return path, load_checkpoint(path)


def config_of(stored: dict[str, Any], tmp_path: Path) -> Config:
    file = tmp_path / "old.yaml"
    file.write_text("\n".join(f"{section}: {values}" for section, values in stored.items()).replace("None", "null"))
    return load_config(file, ["training.total_kimg=0.12", "training.device=cpu"])


def leaves(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key: leaf for k, item in items for key, leaf in leaves(item, f"{name}/{k}").items()}


def test_every_tensor_is_restored(tmp_path: Path) -> None:
    _, stored = run_with_it(tmp_path)
    assert "system" not in stored["config"]
    config = config_of(stored["config"], tmp_path)
    assert isinstance(config, StyleConfig) and config.system == "style"
    state = TrainingState(config, resolve_precision(config.training))
    assert resume_from_newest(state, tmp_path)
    before, after = leaves(stored), leaves(state.state_dict())
    assert before.keys() == after.keys() and len(before) > 500
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert state.step == 10


def test_it_goes_on_as_a_checkpoint_of_today_does(tmp_path: Path) -> None:
    """The same five steps from the old file as from that file written anew."""
    path, stored = run_with_it(tmp_path)
    config = config_of(stored["config"], tmp_path)
    state = TrainingState(config, resolve_precision(config.training))
    resume_from_newest(state, tmp_path)
    again = tmp_path / "again"
    (again / "checkpoints").mkdir(parents=True)
    save_checkpoint(state.state_dict(), again / "checkpoints" / path.name)
    ends = []
    for folder in (tmp_path, again):
        assert train(config, folder).state.step == 15
        ends.append(leaves(load_checkpoint(list_checkpoints(folder / "checkpoints")[-1])))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_its_networks_are_loaded(tmp_path: Path) -> None:
    path, stored = run_with_it(tmp_path)
    generator = load_generator(path)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, stored["ema_generator"][name])
    system, _ = load_system(path)
    assert torch.equal(system.discriminator.head.weight, stored["discriminator"]["head.weight"])
