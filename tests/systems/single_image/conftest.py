"""A picture of 28x20 px with structure, and a tiny pyramid of three scales on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.config import load_config
from sarigan.systems.single_image.system import SingleImageConfig, SingleImageSystem
from sarigan.training.precision import Precision

TINY = (
    "system=single_image", "pyramid.min_size=10", "pyramid.ratio=0.5", "networks.num_layers=3",
    "networks.channels=4", "networks.max_channels=4", "plan.iterations=4",
    "plan.critic_steps=2", "plan.generator_steps=2", "training.device=cpu", "training.tick_kimg=0.002",
    "training.sample_kimg=100", "training.checkpoint_kimg=100", "training.num_samples=2",
)  # fmt: skip
BuildConfig = Callable[..., SingleImageConfig]
BuildSystem = Callable[..., SingleImageSystem]


@pytest.fixture(scope="session")
def picture_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sky, a wall and windows."""
    pixels = np.full((20, 28, 3), (120, 160, 220), dtype=np.uint8)
    pixels[8:] = (190, 150, 90)
    for column in range(3, 28, 7):
        pixels[11:16, column : column + 3] = (30, 30, 60)
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def single_image_config(picture_file: Path) -> BuildConfig:
    """single_image_config("section.key=value", ...): a run of twelve steps at 14x10, 20x14 and 28x20 px."""

    def build(*overrides: str) -> SingleImageConfig:
        config = load_config(None, [*TINY, f"data.path={picture_file}", *overrides])
        assert isinstance(config, SingleImageConfig)
        return config

    return build


@pytest.fixture(scope="session")
def single_image_system(single_image_config: BuildConfig) -> BuildSystem:
    """The system of such a configuration before its first step, in float64."""

    def build(*overrides: str) -> SingleImageSystem:
        config, _ = single_image_config("training.precision=float64", *overrides).open_data()
        return config.build(Precision(torch.device("cpu"), "float64"))

    return build
