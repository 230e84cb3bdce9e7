"""Groups that are there are found: 16 planted clusters of kernels, by every threshold option, with the project's own Adam."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sarigan.layers.grouping import GroupingConfig, SimilarityGrouping
from sarigan.systems.style.objective import ObjectiveConfig
from sarigan.systems.style.optimizer_config import OptimizerConfig
from sarigan.training.optimizers import lazy_adam

CHANNELS, WEIGHTS, GROUPS, STEPS = 128, 1152, 16, 4000


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, Tensor]:
    """Kernels [128,1152] in 16 clusters of 8, cosine 0.3 inside a cluster and 0 +- 0.03 across; labels [128]."""
    source = torch.Generator().manual_seed(0)
    labels = torch.arange(CHANNELS)[torch.randperm(CHANNELS, generator=source)] % GROUPS
    centres = torch.randn(GROUPS, WEIGHTS, generator=source)
    own = torch.randn(CHANNELS, WEIGHTS, generator=source)
    return 0.3**0.5 * centres[labels] + 0.7**0.5 * own, labels


def purity(groups: Tensor, labels: Tensor) -> float:
    """The share of channels that carry the commonest label of their group."""
    table = torch.zeros(GROUPS, GROUPS)
    table.index_put_((groups, labels), torch.ones(len(labels)), accumulate=True)
    return float(table.max(dim=1).values.sum() / len(labels))


def optimise(config: GroupingConfig, kernel: Tensor) -> Iterator[SimilarityGrouping]:
    """The grouping after every step of its phase, with the default weights and optimiser."""
    torch.manual_seed(1)
    grouping = SimilarityGrouping(config, CHANNELS, GROUPS)
    grouping.initialize(kernel)
    settings, weights = OptimizerConfig(), ObjectiveConfig()
    adam = lazy_adam(
        grouping.parameters(), settings.grouping_learning_rate, (settings.beta1, settings.beta2), settings.grouping_epsilon
    )
    for _ in range(STEPS):
        terms = grouping.loss(kernel)
        loss = weights.grouping_weight * terms.similarity
        if terms.threshold is not None:
            loss = loss + weights.threshold_weight * terms.threshold
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield grouping


@pytest.mark.parametrize("step", ["hard", "soft"])
@pytest.mark.parametrize("threshold", ["quantile", "learned", "constant"])
def test_planted_clusters_are_recovered(planted: tuple[Tensor, Tensor], threshold: str, step: str) -> None:
    kernel, labels = planted
    config = GroupingConfig(threshold=threshold, step=step)
    for count, grouping in enumerate(optimise(config, kernel), start=1):
        # Often enough to stop early, rarely enough to cost nothing.
        if count % 250 == 0:
            membership = grouping.membership()
            reached = purity(membership.argmax(dim=1), labels)
            if reached >= 0.99 and (membership.sum(dim=0) > 0).all():
                break
    assert reached >= 0.99, (reached, count)
    # Pure and complete: every planted cluster has one group of its own.
    assert purity(labels, membership.argmax(dim=1)) >= 0.99


def test_purity_of_random_groups_is_low(planted: tuple[Tensor, Tensor]) -> None:
    kernel, labels = planted
    assert purity(torch.randint(GROUPS, (CHANNELS,), generator=torch.Generator().manual_seed(0)), labels) < 0.5
