"""Information of a Q head that reads the latent off the image, or part of it, or nothing."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sarigan.errors import InputError
from sarigan.files.checkpoint import save_checkpoint
from sarigan.metrics.information import InformationConfig, information
from sarigan.models.discriminator import code_halves, information_target
from sarigan.models.generator import Generator
from sarigan.pretrained import load_system
from sarigan.runs.checkpoint_hook import CheckpointHook

Build = Callable[..., Any]


class Reader(nn.Module):
    """A discriminator whose Q is told what the image was made from; `noise` is added, by half."""

    def __init__(self, generator: Generator, h_noise: float, z_noise: float, scale: float = 1.0) -> None:
        super().__init__()
        self.recognition = SimpleNamespace(linear=nn.Linear(1, generator.config.w_dim))
        self.half = generator.config.style_dim
        self.h_noise, self.z_noise, self.scale = h_noise, z_noise, scale
        self.latest: Tensor | None = None
        self.source = torch.Generator().manual_seed(0)
        generator.mapping.register_forward_hook(lambda module, inputs, w: setattr(self, "latest", w))

    def forward(self, images: Tensor, labels: None) -> Any:
        assert self.latest is not None
        spread = torch.full_like(self.latest, self.z_noise)
        spread[:, : self.half] = self.h_noise
        noise = spread * torch.randn(self.latest.shape, generator=self.source, dtype=self.latest.dtype)
        return SimpleNamespace(codes=self.scale * (self.latest + noise))


class SameW(nn.Module):
    """w = z."""

    def forward(self, z: Tensor, labels: None) -> Tensor:
        return z


@pytest.fixture
def generator(tiny_config: Build) -> Generator:
    """A grouped generator whose w is standard normal: w = z."""
    torch.manual_seed(0)
    config = tiny_config("generator.z_dim=16").generator
    model = Generator(config).double()
    model.mapping = SameW()  # type: ignore[assignment]
    return model


def test_of_a_known_channel(generator: Generator) -> None:
    """Q = t + noise of variance s^2: R^2 = 1 - s^2, squared correlation 1/(1 + s^2), shuffled 1 - (2 + s^2)."""
    found = information(generator, Reader(generator, 0.1, 0.5), "w", InformationConfig(6400)).halves
    for half, variance in (("h", 0.01), ("z", 0.25)):
        assert found[half].r_squared == pytest.approx(1 - variance, abs=0.015)
        assert found[half].squared_correlation == pytest.approx(1 / (1 + variance), abs=0.01)
        assert found[half].r_squared_of_shuffled_pairs == pytest.approx(-1 - variance, abs=0.05)
        assert found[half].nats == pytest.approx(-0.5 * 8 * math.log(variance), rel=0.02)
    assert found["all"].num_dimensions == 16


def test_units_and_mean_of_the_codes_do_not_matter(generator: Generator) -> None:
    """t_d of deviation 2 about d, Q = t + noise of deviation 1: R^2 = 1 - 1/4, and 1 - (2 * 4 + 1) / 4 for wrong images."""
    generator.mapping.register_forward_hook(lambda module, inputs, w: 2 * w + torch.arange(16))
    half = information(generator, Reader(generator, 1, 1), "w", InformationConfig(6400)).halves["all"]
    assert half.r_squared == pytest.approx(0.75, abs=0.01)
    assert half.r_squared_of_shuffled_pairs == pytest.approx(-1.25, abs=0.05)
    assert half.squared_correlation == pytest.approx(0.8, abs=0.01)
    assert half.nats == pytest.approx(-0.5 * 16 * math.log(0.25), rel=0.02)


def test_scale_hurts_r_squared_alone(generator: Generator) -> None:
    found = information(generator, Reader(generator, 0, 0, scale=0.5), "w", InformationConfig(1600)).halves["all"]
    assert found.squared_correlation == pytest.approx(1)
    assert found.r_squared == pytest.approx(0.75, abs=0.02)


def test_dimensions_that_never_vary_are_counted_and_left_out(generator: Generator) -> None:
    """Three of eight dimensions of h are constant, and Q knows the others up to a known noise."""
    constant = torch.tensor([float(d in (1, 4, 7)) for d in range(16)], dtype=torch.float64)
    generator.mapping.register_forward_hook(lambda module, inputs, w: torch.where(constant > 0, 2.5, w))
    found = information(generator, Reader(generator, 0.5, 0.5), "w", InformationConfig(3200)).halves
    counts = {name: (half.num_dimensions, half.num_constant) for name, half in found.items()}
    assert counts == {"all": (13, 3), "h": (5, 3), "z": (8, 0)}
    assert found["h"].r_squared == pytest.approx(0.75, abs=0.03)
    assert found["h"].nats == pytest.approx(-0.5 * 5 * math.log(0.25), rel=0.05)


def test_images_are_counted_in_whole_blocks(generator: Generator) -> None:
    """33 are two blocks of 32, and all of them count; Q that is right everywhere has R^2 = 1."""
    seen: list[int] = []
    found = information(generator, Reader(generator, 0, 0), "w", InformationConfig(33), seen.append)
    assert found.num_images == 64 and seen == [32, 32]
    assert found.halves["all"].r_squared == pytest.approx(1)
    assert found.halves["all"].nats == pytest.approx(-0.5 * 16 * math.log(1e-12), rel=0.05)
    with pytest.raises(InputError, match="num_images must be at least 2, got 1"):
        InformationConfig(1)
    assert InformationConfig(2).num_images == 2


def test_halves_cover_the_target(tiny_config: Build) -> None:
    """By the values: what `h` picks is h, what `z` picks is z."""
    torch.manual_seed(0)
    generator = Generator(tiny_config().generator)
    output = generator(torch.randn(3, 8))
    target, halves = information_target(output, "codes"), code_halves(generator, "codes")
    assert torch.equal(target[:, halves["h"]], torch.cat([codes.h_scale for codes in output.codes.values()], dim=1))
    assert torch.equal(target[:, halves["z"]], torch.cat([codes.z_scale for codes in output.codes.values()], dim=1))
    plain = Generator(tiny_config("generator.grouping.kind=none").generator)
    assert list(code_halves(plain, "w")) == ["all"]


def test_of_a_checkpoint(tiny_config: Build, tiny_trainer: Build, tmp_path: Any) -> None:
    """Both networks of a run are loaded, D as it was trained; the metric does not depend on what is asked before."""
    trainer = tiny_trainer(tiny_config("training.total_kimg=0.016"), [CheckpointHook(tmp_path / "checkpoints", 100, 2)])
    trainer.run()
    system, config = load_system(tmp_path)
    images = torch.randn(8, 3, 8, 8)
    trained = trainer.system.discriminator(images)
    loaded = system.discriminator(images)
    torch.testing.assert_close(loaded.logits, trained.logits)
    torch.testing.assert_close(loaded.codes, trained.codes)
    target = config.objective.information_target
    networks = (system.average.module, system.discriminator)
    found = [information(*networks, target, InformationConfig(64, seed)) for seed in (1, 2, 1)]
    assert found[0] == found[2] != found[1]
    assert found[0].halves["all"].r_squared < 0.5  # two steps of training


def test_without_what_is_needed(tiny_config: Build, tiny_state: Build, tmp_path: Any) -> None:
    state = tiny_state(tiny_config("objective.information_weight=0"))
    path = tmp_path / "checkpoint-00000000.pt"
    save_checkpoint(state.state_dict(), path)
    system, _ = load_system(path)
    with pytest.raises(InputError, match="the discriminator has no Q head"):
        information(system.average.module, system.discriminator, "w", InformationConfig(32))
    save_checkpoint({key: value for key, value in state.state_dict().items() if key != "discriminator"}, path)
    with pytest.raises(InputError, match="does not fit this configuration .*discriminator"):
        load_system(path)
