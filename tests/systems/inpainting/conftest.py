"""A tiny co-modulated SariGAN, CA and AN at 16 px, every phase of which is due within a few steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sarigan.config import Config, load_config

TINY = (
    "system=inpainting", "data.num_workers=0", "data.mask.kind=brush",
    "generator.resolution=16", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=64", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "generator.grouping.threshold=learned", "encoder.global_dim=12",
    "discriminator.channel_base=64", "discriminator.channel_max=8",
    "objective.r1_gamma=1", "objective.r1_interval=3", "objective.mixing_probability=0.5", "objective.l1_weight=1",
    "training.batch_size=8", "training.total_kimg=0.08", "training.ema_half_life_kimg=0.05",
    "training.device=cpu", "training.precision=float32", "training.num_samples=4",
    "training.tick_kimg=0.04", "training.sample_kimg=100", "training.checkpoint_kimg=100",
)  # fmt: skip


TWO_STAGES = (
    "system=two_stage_inpainting", "data.num_workers=0", "data.mask.kind=box",
    "generator.resolution=16", "generator.width=4", "discriminator.width=4", "objective.critic_steps=2",
    *(setting for setting in TINY if setting.startswith("training.")),
)  # fmt: skip
METHODS = {
    "ca": (),
    "an": (
        "generator.refinement=attentive_normalization", "generator.num_regions=3", "discriminator.kind=self_attention",
        "objective.weighting=confidence", "objective.orthogonality_weight=0.0002",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def two_stage_config(png_folder: Path) -> Callable[..., Config]:
    """two_stage_config("ca" or "an", "section.key=value", ...): a run of ten steps on 24 random images."""

    def build(method: str, *overrides: str) -> Config:
        return load_config(None, [*TWO_STAGES, *METHODS[method], "data.name=folder", f"data.path={png_folder}", *overrides])

    return build


@pytest.fixture(scope="session")
def inpainting_config(png_folder: Path) -> Callable[..., Config]:
    """inpainting_config("section.key=value", ...): a run of ten steps on 24 random images."""

    def build(*overrides: str) -> Config:
        return load_config(None, [*TINY, "data.name=folder", f"data.path={png_folder}", *overrides])

    return build
