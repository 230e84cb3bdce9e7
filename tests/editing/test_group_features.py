"""Features of groups against loops over their channels."""

import pytest
import torch
from torch.nn import functional as F

from sarigan.editing.rendering import group_responses


@pytest.mark.parametrize("absolute", [False, True])
def test_responses_are_means_over_the_channels_of_a_group(absolute: bool) -> None:
    """Three groups of 4, 1 and 0 channels; that without any responds with 0."""
    groups = torch.tensor([0, 1, 0, 0, 0])
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = group_responses(x, F.one_hot(groups, 3), absolute)
    values = x.abs() if absolute else x
    expected = torch.stack([values[:, [0, 2, 3, 4]].mean(dim=1), values[:, 1], torch.zeros(2, 3, 4)], dim=1)
    torch.testing.assert_close(found, expected.double())
