"""A tiny SPADE on images of 24 x 16 px that are not square, with void and instances, from a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.config import Config, load_config

TINY = (
    "system=semantic_layout", "data.name=folder", "data.num_workers=0", "data.num_classes=4", "data.void=255",
    "data.instances=true", "generator.resolution=24", "generator.height=16", "generator.channels=2",
    "generator.num_upsamples=3", "generator.spade_hidden=4", "generator.style_dim=6", "generator.encoder_size=16",
    "discriminator.channels=3", "discriminator.num_layers=3", "objective.perceptual_network=none", "statistics_images=6",
    "training.batch_size=8", "training.total_kimg=0.08", "training.ema_half_life_kimg=0.05",
    "training.device=cpu", "training.precision=float32", "training.num_samples=8",
    "training.tick_kimg=0.04", "training.sample_kimg=100", "training.checkpoint_kimg=100",
)  # fmt: skip


@pytest.fixture(scope="session")
def layout_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 random images of 24 x 16 px with blocks of four classes, a void corner, and instances."""
    folder, random = tmp_path_factory.mktemp("layouts"), np.random.default_rng(0)
    for name in ("images", "labels", "instances"):
        (folder / name).mkdir()
    for index in range(24):
        layout = random.integers(0, 4, (4, 6)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
        instances = layout * 3
        layout[:2, :2] = 255
        image = random.integers(0, 256, (16, 24, 3)).astype(np.uint8) // 4 + layout[:, :, None] // 2
        for name, pixels in (("images", image), ("labels", layout), ("instances", instances)):
            Image.fromarray(pixels).save(folder / name / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="session")
def layout_config(layout_folder: Path) -> Callable[..., Config]:
    """layout_config("section.key=value", ...): a run of ten steps."""

    def build(*overrides: str) -> Config:
        return load_config(None, [*TINY, f"data.path={layout_folder}", *overrides])

    return build
