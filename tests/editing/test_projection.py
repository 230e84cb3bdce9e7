"""Projection finds what the generator made."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image
from torch import Tensor

from sarigan.editing.projection import ProjectionConfig, project
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.visualization.editing import load_target


def build(kind: str = "similarity") -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=8, z_dim=8, style_dim=8, mapping_layers=2, channel_base=32, channel_max=8,
        mapping_learning_rate_multiplier=1.0, grouping=GroupingConfig(kind=kind, num_groups=3),
    )  # fmt: skip
    generator = Generator(config).eval().requires_grad_(False)
    generator.update_mean_latent(500)
    return generator


def pixels(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("space", ["w", "w+", "codes"])
def test_an_image_of_the_generator_is_found_again(space: str) -> None:
    generator = build()
    target = generator(torch.randn(1, 8, generator=torch.Generator().manual_seed(5)), noise="fixed").images
    start = generator.synthesize(generator.mean_latent.expand(1, generator.num_latents, -1), "fixed").images
    config = ProjectionConfig(space, num_steps=60, min_distance_size=8)
    found = project(generator, target, pixels, config)
    assert pixels(found.image, target) < 0.4 * pixels(start, target)
    again = generator.synthesize(found.latents, "fixed", found.edits).images
    assert torch.equal(again, found.image)
    assert (found.edits == []) == (space != "codes")
    assert len(found.losses) == 60 * {"w": 1, "w+": 2, "codes": 3}[space]
    if space == "w":
        assert (found.latents == found.latents[:, :1]).all()


def test_what_cannot_be_projected(tmp_path: Path) -> None:
    plain = build("none")
    with pytest.raises(InputError, match="this generator has no groups"):
        project(plain, torch.zeros(1, 3, 8, 8), pixels, ProjectionConfig("codes"))
    for arguments, message in {
        ("v", 5, 0.1): "--space must be one of w, w\\+, codes",
        ("w", 0, 0.1): "--steps must be at least 1",
        ("w", 5, 0.0): "--learning-rate must be positive",
    }.items():
        with pytest.raises(InputError, match=message):
            ProjectionConfig(*arguments)
    with pytest.raises(InputError, match="not a readable image|cannot be read .No such file"):
        load_target(tmp_path / "none.png", 8)


def test_the_target_is_a_picture_and_nothing_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "x.ppm").write_bytes(b"P6 8 8 255x ")  # Pillow's ValueError
    for name, reason in (("x.png", "unknown or damaged"), ("pipe.png", "not a regular file"), ("x.ppm", "")):
        with pytest.raises(InputError, match=f"{name}: not a readable image .*{reason}"):
            load_target(tmp_path / name, 8)
    assert started == []


def test_the_target_is_the_centre_square(tmp_path: Path) -> None:
    picture = np.zeros((8, 14, 3), dtype=np.uint8)
    picture[:, 3:11] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    Image.fromarray(picture).save(tmp_path / "wide.png")
    target = load_target(tmp_path / "wide.png", 8)
    expected = torch.from_numpy(picture[:, 3:11]).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert torch.equal(target, expected)
    assert load_target(tmp_path / "wide.png", 16).shape == (1, 3, 16, 16)
