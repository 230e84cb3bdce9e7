"""A learned number of groups: the groups in use, the fit to planted clusters, resuming."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from stopped_runs import whole_and_resumed

from sarigan.errors import InputError
from sarigan.layers.grouping import AdaptiveGrouping, GroupingConfig, build_grouping

Build = Callable[..., Any]
KIND = ("generator.grouping.kind=adaptive", "generator.grouping.threshold=quantile")


def grouping(channels: int, most: int, kernel: torch.Tensor) -> AdaptiveGrouping:
    found = build_grouping(GroupingConfig(kind="adaptive", num_groups=most), channels, "8x8.conv")
    assert isinstance(found, AdaptiveGrouping)
    found.initialize(kernel)
    return found


def set_number(found: AdaptiveGrouping, number: float) -> None:
    with torch.no_grad():
        found.number_logit.copy_(torch.logit(torch.tensor((number - 1) / (found.num_groups - 1))))


@pytest.mark.parametrize(("number", "used"), [(1.2, 1), (3.6, 4), (7.9, 8)])
def test_groups_beyond_the_number_hold_no_channel(number: float, used: int) -> None:
    torch.manual_seed(0)
    found = grouping(64, 8, torch.randn(64, 30))
    set_number(found, number)
    member = found.membership()
    assert torch.equal(member.sum(dim=1), torch.ones(64)) and int((member.sum(dim=0) > 0).sum()) == used
    assert not member[:, used:].any() and not found.probabilities()[:, used:].any()
    expected = found.logits[:, :used].argmax(dim=1)  # among those that are left, the largest logit
    assert torch.equal(member.argmax(dim=1), expected)


def test_the_number_is_fitted_to_the_similar_pairs_of_kernels() -> None:
    """By a loop over pairs: at n = c^2 / #{cos >= 3/sqrt(d)} its loss is zero."""
    torch.manual_seed(1)
    kernel = torch.randn(20, 50) + torch.randn(4, 50).repeat(5, 1)
    found = grouping(20, 16, kernel)
    rows = [row / row.norm() for row in kernel]
    target = 400 / sum(float(a @ b) >= 3 / 50**0.5 for a in rows for b in rows)
    assert 4 <= target < 8
    for factor, loss in ((1, 0), (1.5, 0.25), (0.5, 0.25)):
        set_number(found, factor * target)
        assert float(found.loss(kernel).threshold.detach()) == pytest.approx(loss, abs=1e-5)


def test_the_gradients_of_the_loss() -> None:
    """Its number learns from its own loss alone, and nothing reaches the kernels."""
    kernel = torch.randn(12, 40, requires_grad=True)
    found = grouping(12, 4, kernel)
    terms = found.loss(kernel)
    set_number(found, 2.8)  # one group is not in use
    named = dict(found.named_parameters()) | {"kernel": kernel}
    for loss, expected in ((terms.similarity, {"logits", "temperature_logit"}), (terms.threshold, {"number_logit"})):
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
        assert {name for name, g in zip(named, gradients, strict=True) if g is not None and g.any()} == expected
        assert all(g.isfinite().all() for g in gradients if g is not None)


def test_planted_clusters_are_counted_and_found() -> None:
    """Six clusters of eight kernels, at most twelve groups."""
    torch.manual_seed(2)
    labels = torch.arange(48) % 6
    kernel = torch.randn(6, 400)[labels] + torch.randn(48, 400)
    found = grouping(48, 12, kernel)
    adam = torch.optim.Adam(found.parameters(), lr=0.03, eps=1e-15)
    for _ in range(600):
        terms = found.loss(kernel)
        (2 * terms.similarity + 5 * terms.threshold).backward()
        adam.step()
        adam.zero_grad()
    member = found.membership()
    assert round(found.number().item()) == 6
    assert all(len(labels[member[:, i] > 0].unique()) == 1 for i in range(6))


def test_a_threshold_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="threshold is fixed with kind adaptive; leave it out, got 'learned'"):
        GroupingConfig(kind="adaptive", threshold="learned")


def test_a_run_goes_on_with_the_same_bits(tiny_config: Build, tiny_trainer: Build, tiny_state: Build) -> None:
    whole, rest = whole_and_resumed(tiny_config, tiny_trainer, tiny_state, *KIND)
    for name, parameter in whole.system.generator.named_parameters():
        assert torch.equal(parameter, dict(rest.system.generator.named_parameters())[name]), name
    layer = rest.system.generator.grouped_layers()[0]
    assert not torch.equal(layer.grouping.number_logit, torch.tensor(3.0))
    values = rest.system.log_values({})
    assert f"groups/{layer.name}/number" in values
