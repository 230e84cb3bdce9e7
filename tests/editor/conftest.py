"""A tiny generator of each kind, as an export that the editor opens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.config import load_config
from sarigan.editor.model import EditedModel
from sarigan.editor.session import Session
from sarigan.exporting.safetensors_export import save_exported
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.spectral_norm import update_spectral_norms
from sarigan.models.class_conditional_generator import ClassConditionalGenerator, ClassConditionalGeneratorConfig
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
def biggan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a class-conditional generator of 16 px with three classes."""
    config = ClassConditionalGeneratorConfig(
        resolution=16, z_dim=6, channels=4, multipliers=[2, 2, 1], class_dim=5, attention_resolution=8, standing_batches=2,
        standing_batch_size=8, class_names=["boot", "coat", "hat"], class_shares=[0.5, 0.25, 0.25],
    )  # fmt: skip
    torch.manual_seed(4)
    generator = ClassConditionalGenerator(config)
    update_spectral_norms(generator, 15)
    generator.refresh()
    folder = tmp_path_factory.mktemp("model") / "biggan"
    save_exported(generator, folder, {})
    return folder


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


LAYOUTS = (
    "system=semantic_layout", "data.num_workers=0", "generator.channels=2", "generator.num_upsamples=3",
    "generator.spade_hidden=4", "generator.style_dim=6", "generator.encoder_size=16", "discriminator.channels=3",
    "discriminator.num_layers=3", "objective.perceptual_network=none", "statistics_images=4", "held_out.num_images=4",
    "training.batch_size=4", "training.total_kimg=0.012", "training.ema_half_life_kimg=0.0001", "training.device=cpu",
    "training.precision=float32", "training.num_samples=4", "optimizer.generator_learning_rate=0.03",
)  # fmt: skip


@pytest.fixture(scope="session")
def layout_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """layout_run(setting, ...): a model of layouts after three steps, of avatars at 32 px where no data is named; made once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*settings: str) -> Path:
        if settings not in made:
            made[settings] = tmp_path_factory.mktemp("layouts") / "run"
            size = (
                () if any("data.path" in setting for setting in settings) else ("data.num_images=8", "generator.resolution=32")
            )
            train(load_config(None, [*LAYOUTS, *size, *settings]), made[settings])
        return made[settings]

    return make


@pytest.fixture(scope="session")
def street(layout_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 24 x 16 px with a table of three colours, void and edges of objects; its set stays where it was."""
    folder, random = tmp_path_factory.mktemp("street"), np.random.default_rng(0)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=np.uint8)
    (folder / "colors.txt").write_text("255 0 0 road\n0 255 0 tree\n0 0 255 <sky>\n9 9 9 nothing\n")
    for name in ("images", "labels", "instances"):
        (folder / name).mkdir()
    for index in range(4):
        layout = random.integers(0, 4, (4, 6)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
        for name, pixels in (("images", colors[layout]), ("labels", colors[layout]), ("instances", layout)):
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return layout_run(
        "data.name=folder", f"data.path={folder}", "data.num_classes=3", "data.void=255", "data.colors=colors.txt",
        "data.instances=true", "generator.resolution=24", "generator.height=16",
    )  # fmt: skip


@pytest.fixture(scope="module")
def outside() -> Iterator[list[str]]:
    """Addresses beyond this machine that this process tries to reach during the module's tests."""
    from browser_tab import addresses_reached

    with addresses_reached() as found:
        yield found


@pytest.fixture
def browser() -> Iterator[Any]:
    """One for each test, since it starts processes as it goes."""
    from browser_tab import open_browser

    with open_browser() as opened:
        yield opened
