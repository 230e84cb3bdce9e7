"""A tiny class-conditional run on 8x8 images of three classes, each of a colour of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.config import Config, load_config

COUNTS = {"boot": 6, "coat": 10, "hat": 4}
TINY = [
    "system=class_conditional", "data.name=folder", "data.labels=folders", "data.num_workers=0", "generator.resolution=8",
    "generator.z_dim=8", "generator.channels=8", "generator.multipliers=[1,1]", "generator.class_dim=4",
    "generator.attention_resolution=8", "generator.standing_batches=2", "generator.standing_batch_size=4",
    "discriminator.channels=8", "discriminator.multipliers=[1,1]", "discriminator.downsamplings=1",
    "discriminator.attention_resolution=4", "objective.discriminator_steps=2", "training.batch_size=8",
    "training.total_kimg=0.08", "training.tick_kimg=0.016", "training.num_samples=6", "training.device=cpu",
    "training.precision=float32", "optimizer.generator_learning_rate=0.01", "optimizer.discriminator_learning_rate=0.01",
]  # fmt: skip


@pytest.fixture(scope="session")
def classes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir()
        for index in range(count):
            pixels = random.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[..., label] += 180
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def config(classes_folder: Path) -> Callable[..., Config]:
    """config(overrides...): ten steps of 8 images, G trained in every second one."""

    def build(*overrides: str) -> Config:
        return load_config(None, [*TINY, f"data.path={classes_folder}", *overrides])

    return build
