"""What a tick says of the groups, against their definitions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarigan.editing.rendering import Sampling
from sarigan.models.generator import Generator
from sarigan.systems.style.report import attention_section, group_statistics


def test_statistics_of_known_groups(tiny_config: Callable[..., Any], tiny_state: Callable[..., Any]) -> None:
    """Of 8 channels, 6 are in the first of three groups and 2 in the last; the average has 3 of them elsewhere."""
    state = tiny_state(tiny_config("generator.grouping.threshold=constant", "generator.grouping.constant_threshold=0.25"))
    groups = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2])
    averaged = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    networks = (state.system.generator, state.system.average.module)
    layer, average = (network.grouped_layers()[0] for network in networks)
    with torch.no_grad():
        layer.grouping.logits.copy_(torch.eye(3)[groups])
        average.grouping.logits.copy_(torch.eye(3)[averaged])
    found = {key.split("/")[2]: value for key, value in group_statistics(*networks).items()
             if key.startswith(f"groups/{layer.name}/")}  # fmt: skip
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    temperature = 1 / (5 / (1 + math.exp(2.0)))
    expected = {"nonempty": 2, "size_entropy": entropy, "ema_agreement": 5 / 8, "temperature": temperature, "threshold": 0.25}
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_sheets_say_how_many_groups_chance_leaves_unmarked(tiny_config: Callable[..., Any]) -> None:
    """Of the shown layers alone; nothing where parts have no names."""
    generator = Generator(tiny_config().generator).eval()
    layer = next(iter(generator.synthesis.num_groups()))
    labels = {layer: {0: "hair 0.31", 1: "nose 0.10 (as random)", 2: "rest 0.9"}, "another": {0: "hair 0.31"}}
    body = attention_section(generator, Sampling(), labels, "", [layer]).body
    assert "Of these 3 groups about 0.15 would be without the mark (as random) by chance; 2 are." in body
    assert "by chance" not in attention_section(generator, Sampling(), {}, "", [layer]).body
