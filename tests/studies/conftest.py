"""A study on disk: two variants, two seeds, tiny networks, judged by a metric that needs no images."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

TINY = [
    "data.num_workers=0", "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8",
    "generator.mapping_layers=2", "generator.channel_base=32", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "discriminator.channel_base=32", "discriminator.channel_max=8", "training.batch_size=8", "training.device=cpu",
    "training.precision=float32", "training.num_samples=1", "training.checkpoint_kimg=0.008", "data.name=folder",
]  # fmt: skip


@pytest.fixture
def write_study(tmp_path: Path, project_root: Path, png_folder: Path) -> Callable[..., Path]:
    """write_study(budget={...}, ...): the study's file, with these fields in place of its own; None leaves a field out."""

    def write(**changed: object) -> Path:
        config = str(project_root / "configs" / "avatars_64_random.yaml")
        values = {
            "question": "Does it work?",
            "budget": {"kimg": 0.04},
            "overrides": [*TINY, f"data.path={png_folder}", "generator.resolution=16"],
            "variants": {
                "random": {"config": config},
                "contiguous": {"config": config, "overrides": ["generator.grouping.kind=contiguous"]},
            },
            "seeds": [0, 1],
            "metrics": ["groups"],
            "evaluation": ["--premise-images=4", "--batch-size=4"],
            "free_gb": 0,
        } | changed  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}, sort_keys=False))
        return path

    return write
