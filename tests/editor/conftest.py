"""A tiny generator of each kind, as an export that the editor opens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sarigan.config import load_config
from sarigan.editor.model import EditedModel
from sarigan.editor.session import Session
from sarigan.exporting.safetensors_export import save_exported
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.runs.run import train

TINY: dict[str, Any] = {
    "resolution": 16, "z_dim": 8, "style_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 16,
    "mapping_learning_rate_multiplier": 1.0,
}  # fmt: skip


def build(folder: Path, grouping: str = "similarity", **changes: Any) -> Path:
    torch.manual_seed(4)
    generator = Generator(GeneratorConfig(**TINY | changes, grouping=GroupingConfig(kind=grouping, num_groups=4)))
    generator.update_mean_latent(200)
    with torch.no_grad():  # strengths start at 0, which would hide the noise
        for name, parameter in generator.named_parameters():
            if name.endswith("noise.strength"):
                parameter.fill_(0.3)
    save_exported(generator, folder, {})
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """exported(grouping, ...): the folder of an export, made once for the same arguments."""
    made: dict[str, Path] = {}

    def make(grouping: str = "similarity", **changes: Any) -> Path:
        key = f"{grouping}{sorted(changes.items())}"
        if key not in made:
            made[key] = build(tmp_path_factory.mktemp("model") / "tiny", grouping, **changes)
        return made[key]

    return make


@pytest.fixture
def session(exported: Callable[..., Path]) -> Session:
    """A new session of a model with groups."""
    return Session(EditedModel(str(exported())))


@pytest.fixture(scope="session")
def inpainting_run(tmp_path_factory: pytest.TempPathFactory, png_folder: Path) -> Path:
    """A model of one step."""
    folder = tmp_path_factory.mktemp("completing") / "run"
    settings = (
        "system=inpainting", "data.num_workers=0", "data.name=folder", "data.mask.kind=box", f"data.path={png_folder}",
        "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
        "generator.channel_base=64", "generator.channel_max=8", "encoder.global_dim=12", "generator.grouping.num_groups=3",
        "discriminator.channel_base=64", "discriminator.channel_max=8", "training.batch_size=8", "training.total_kimg=0.008",
        "training.device=cpu", "training.precision=float32", "training.num_samples=4",
    )  # fmt: skip
    train(load_config(None, list(settings)), folder)
    return folder
