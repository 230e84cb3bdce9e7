"""What a tick says of the groups, against their definitions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarigan.systems.style.report import group_statistics


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
