"""Every random input is a function of (seed, phase, step, position): shards, ranks, rounds and restarts change none."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sarigan.config import Config
from sarigan.models.generator import Generator
from sarigan.systems.style.draws import StyleDraws, StyleRandomness

Build = Callable[..., Any]


def randomness(config: Config, seed: int = 0) -> StyleRandomness:
    generator = Generator(config.generator)
    mixing = (config.objective.mixing_probability, config.objective.mixing_kind)
    return StyleRandomness(seed, generator, *mixing, torch.device("cpu"), torch.float32)


def tensors(draws: StyleDraws) -> list[Tensor]:
    mixing = [] if draws.mixing is None else [draws.mixing.second_z, torch.tensor(draws.mixing.crossover)]
    image_noise = [] if draws.image_noise is None else [draws.image_noise]
    return [draws.z, *draws.noise, *mixing, *image_noise]


def equal(a: StyleDraws, b: StyleDraws) -> bool:
    x, y = tensors(a), tensors(b)
    return len(x) == len(y) and all(torch.equal(i, j) for i, j in zip(x, y, strict=True))


@pytest.fixture
def always_mixing(tiny_config: Build) -> Config:
    return tiny_config("objective.mixing_probability=1")


def test_draws_depend_on_nothing_but_their_key(always_mixing: Config) -> None:
    source = randomness(always_mixing)
    expected = source.draw("generator", 7, 8, image_noise=True)
    # Other draws before, global seeds, and a fresh object change nothing.
    torch.manual_seed(99)
    random.seed(99)
    source.draw("generator", 8, 8)
    assert equal(source.draw("generator", 7, 8, image_noise=True), expected)
    assert equal(randomness(always_mixing).draw("generator", 7, 8, image_noise=True), expected)


def test_drawing_leaves_the_global_generators_alone(always_mixing: Config) -> None:
    source = randomness(always_mixing)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    source.draw("generator", 0, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_part_of_the_key_matters(always_mixing: Config) -> None:
    source = randomness(always_mixing)
    z = source.draw("generator", 7, 8).z
    others = [source.draw("generator", 8, 8), source.draw("discriminator", 7, 8)]
    others.append(randomness(always_mixing, 1).draw("generator", 7, 8))
    assert all(not torch.equal(other.z, z) for other in others)


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_shards_dealt_out_and_put_back_are_the_batch(always_mixing: Config, num_shards: int) -> None:
    draws = randomness(always_mixing).draw("path_length", 3, 8, image_noise=True)
    shards = [draws.shard(index, num_shards) for index in range(num_shards)]
    for position in range(8):
        shard, place = shards[position % num_shards], position // num_shards
        assert torch.equal(shard.z[place], draws.z[position])
        assert torch.equal(shard.mixing.second_z[place], draws.mixing.second_z[position])
        assert torch.equal(shard.image_noise[place], draws.image_noise[position])
        for part, whole in zip(shard.noise, draws.noise, strict=True):
            assert torch.equal(part[place], whole[position])
    assert {shard.mixing.crossover for shard in shards} == {draws.mixing.crossover}
    assert sum(len(shard.z) for shard in shards) == 8


def test_shapes_and_independence(always_mixing: Config) -> None:
    draws = randomness(always_mixing).draw("generator", 0, 4096)
    assert draws.z.shape == (4096, 8) and draws.image_noise is None
    assert [tuple(noise.shape) for noise in draws.noise] == [(4096, 1, 4, 4), (4096, 1, 8, 8), (4096, 1, 8, 8)]
    values = torch.cat([draws.z, draws.mixing.second_z, *[noise[:, 0, :2].flatten(1) for noise in draws.noise]], dim=1)
    assert values.mean(dim=0).abs().max() < 5 / 64 and (values.var(dim=0) - 1).abs().max() < 0.15
    correlation = torch.corrcoef(values.T) - torch.eye(values.shape[1])
    assert correlation.abs().max() < 6 / 64


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.9, 1.0])
def test_mixing_has_its_probability_and_crossovers_are_uniform(tiny_config: Build, probability: float) -> None:
    source = randomness(tiny_config(f"objective.mixing_probability={probability}"))
    mixings = [source._mixing((0, "generator", step), torch.zeros(1, 8)) for step in range(4000)]
    happened = [mixing for mixing in mixings if mixing is not None]
    assert abs(len(happened) / 4000 - probability) < 0.03
    if happened:
        counts = {c: sum(m.crossover == c for m in happened) / len(happened) for c in {m.crossover for m in happened}}
        assert sorted(counts) == [1, 2, 3]  # in [1, L) with L = 4 latents at 8 px
        assert all(abs(share - 1 / 3) < 0.05 for share in counts.values())


def test_phases_decide_on_mixing_independently(tiny_config: Build) -> None:
    source = randomness(tiny_config("objective.mixing_probability=0.5"))
    decided = {
        phase: [source._mixing((0, phase, step), torch.zeros(1, 8)) is not None for step in range(400)]
        for phase in ("discriminator", "generator", "path_length")
    }
    agree = sum(a == b for a, b in zip(decided["discriminator"], decided["generator"], strict=True)) / 400
    assert 0.4 < agree < 0.6
