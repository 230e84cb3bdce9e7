"""The published sizes: rosinality's StyleGAN2 and the SariGAN release, counted parameter by parameter."""

import pytest
import torch

from sarigan.layers.grouping import GroupingConfig
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.systems.system import count_parameters

# resolution, channel multiplier: StyleGAN2 G, D; SariGAN G, D
PUBLISHED = {
    (64, 1): (23_819_544, 23_407_361, 24_209_320, 23_932_673),
    (256, 1): (24_767_458, 24_001_089, 25_199_290, 24_526_401),
    (256, 2): (30_034_338, 28_864_129, 30_479_482, 29_389_441),
    (1024, 1): (24_900_764, 24_038_161, 25_367_740, 24_563_473),
    (1024, 2): (30_370_060, 29_012_513, 30_852_652, 29_537_825),
}


def count(resolution: int, multiplier: int, grouping: GroupingConfig, code_dim: int) -> tuple[int, int]:
    base = 8192 * multiplier
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(resolution=resolution, channel_base=base, grouping=grouping))
        discriminator = Discriminator(DiscriminatorConfig(channel_base=base), resolution, code_dim)
    return count_parameters(generator), count_parameters(discriminator)


@pytest.mark.parametrize(("resolution", "multiplier"), list(PUBLISHED))
def test_stylegan2(resolution: int, multiplier: int) -> None:
    expected = PUBLISHED[resolution, multiplier][:2]
    assert count(resolution, multiplier, GroupingConfig(kind="none"), code_dim=0) == expected


@pytest.mark.parametrize(("resolution", "multiplier"), list(PUBLISHED))
def test_sarigan(resolution: int, multiplier: int) -> None:
    # A learned threshold, as the release has; its start is given because kernels on "meta" have no quantile.
    grouping = GroupingConfig(threshold="learned", initial_threshold=0.25)
    expected = PUBLISHED[resolution, multiplier][2:]
    assert count(resolution, multiplier, grouping, code_dim=1024) == expected


def test_what_sarigan_adds_at_256() -> None:
    with torch.device("meta"):
        grouping = GroupingConfig(threshold="learned", initial_threshold=0.25)
        generator = Generator(GeneratorConfig(grouping=grouping))
    layers = dict(generator.synthesis.named_layers())
    heads = sum(count_parameters(layer.style.h_scale) for layer in layers.values() if layer.grouping is not None)
    assert heads == 98_496
    assert sum(p.numel() for p in generator.grouping_parameters()) == 70_680
    assert len(generator.grouped_layers()) == 12
