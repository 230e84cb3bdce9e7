"""Groupings: Eq. 1, the choice of threshold and groups, caps, and the fixed controls."""

import math

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sarigan.data.loader import DataConfig
from sarigan.errors import InputError
from sarigan.layers.fixed_grouping import BlockDiagonalGrouping, FixedGrouping
from sarigan.layers.grouping import (
    GROUPINGS,
    Grouping,
    GroupingConfig,
    GroupingLoss,
    SimilarityGrouping,
    build_grouping,
)
from sarigan.layers.kernel_similarity import kernel_similarity, kth_smallest, similarity_quantile
from sarigan.models.generator import GeneratorConfig
from sarigan.systems.style.system import StyleConfig
from sarigan.systems.system import Shard
from sarigan.training.config import TrainingConfig
from sarigan.training.precision import Precision


def test_similarity_is_the_cosine_of_flattened_kernels() -> None:
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    rows = kernel.numpy().reshape(5, -1)
    expected = [[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in rows] for a in rows]
    np.testing.assert_allclose(kernel_similarity(kernel).numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("channels", "num_groups"), [(64, 16), (48, 7), (10, 1), (8, 8)])
def test_quantile_leaves_c_squared_over_g_entries(channels: int, num_groups: int) -> None:
    """On average each channel then has c/g channels as similar as the threshold, itself included."""
    torch.manual_seed(0)
    similarity = kernel_similarity(torch.randn(channels, 30, dtype=torch.float64))
    # Without ties: S is symmetric, so every off-diagonal value stands twice.
    similarity = similarity + torch.rand_like(similarity) * 1e-9
    kept = int((similarity >= similarity_quantile(similarity, num_groups)).sum())
    assert kept == round(channels**2 / num_groups)


def test_quantile_of_a_symmetric_similarity_is_at_most_one_entry_off() -> None:
    similarity = kernel_similarity(torch.randn(64, 30))
    kept = int((similarity >= similarity_quantile(similarity, 16)).sum())
    assert abs(kept - 64**2 / 16) <= 1


@pytest.mark.parametrize("sort", [False, True])
def test_kth_smallest_counts_ties_and_takes_nan_for_the_largest(sort: bool) -> None:
    values = [0.25, -1.0, math.nan, 0.25, math.inf, 0.5, math.nan, -math.inf, 0.25]
    found = [kth_smallest(torch.tensor(values), k, sort).item() for k in range(1, 10)]
    np.testing.assert_array_equal(found, np.sort(values))


def test_quantile_on_a_gpu_sorts() -> None:
    """kthvalue is a single thread block there: 512^2 numbers, seven times a step."""
    names = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
            names.append(operator.name())
            return operator(*arguments, **(keywords or {}))

    with FakeTensorMode(), Names():
        threshold = similarity_quantile(torch.empty(8, 8, device="cuda"), 4)
    assert threshold.shape == () and threshold.device.type == "cuda"
    assert "aten::sort" in names and "aten::kthvalue" not in names


def test_every_channel_belongs_to_exactly_one_group_its_argmax() -> None:
    grouping = SimilarityGrouping(GroupingConfig(num_groups=7), 40, 7)
    membership = grouping.membership()
    assert membership.shape == (40, 7)
    assert ((membership == 0) | (membership == 1)).all() and (membership.sum(dim=1) == 1).all()
    assert torch.equal(membership.argmax(dim=1), grouping.logits.argmax(dim=1))
    assert not membership.requires_grad


def test_ties_still_give_one_group() -> None:
    grouping = SimilarityGrouping(GroupingConfig(num_groups=3), 4, 3)
    with torch.no_grad():
        grouping.logits.zero_()
    assert (grouping.membership().sum(dim=1) == 1).all()


def test_rounded_assignment_is_the_release_formula() -> None:
    """round(softmax(500 softmax(G/t))): almost the argmax, but a tie leaves a channel without a group."""
    grouping = SimilarityGrouping(GroupingConfig(num_groups=4, assignment="round"), 200, 4)
    with torch.no_grad():
        grouping.logits[7] = torch.tensor([1.0, 1.0, 0.0, -1.0])  # a tie
        grouping.logits[8] = torch.tensor([1.0, 1.001, 0.0, -1.0])  # softmax(500 P) of the two: 0.45 and 0.55
    found = grouping.membership().numpy()
    inverse_temperature = 5 / (1 + math.exp(2))
    p = np.exp(grouping.logits.detach().double().numpy() * inverse_temperature)
    p /= p.sum(axis=1, keepdims=True)
    sharp = np.exp(500 * (p - p.max(axis=1, keepdims=True)))
    np.testing.assert_array_equal(found, np.round(sharp / sharp.sum(axis=1, keepdims=True)))
    assert found[7].sum() == 0
    assert found[8].tolist() == [0, 1, 0, 0]


def test_temperature_starts_as_in_the_release() -> None:
    """1/t = 5 sigmoid(theta), theta = -2: t = 1.678; t never falls to 0.2."""
    grouping = SimilarityGrouping(GroupingConfig(num_groups=3), 8, 3)
    assert abs(grouping.temperature().item() - 1.678) < 5e-4
    with torch.no_grad():
        grouping.temperature_logit.fill_(30.0)
    assert grouping.temperature().item() == pytest.approx(0.2)


def test_constant_temperature() -> None:
    grouping = SimilarityGrouping(GroupingConfig(num_groups=3, learn_temperature=False, constant_temperature=0.5), 8, 3)
    assert [name for name, _ in grouping.named_parameters()] == ["logits"]
    expected = torch.softmax(grouping.logits / 0.5, dim=1)
    torch.testing.assert_close(grouping.probabilities(), expected)


def test_thresholds() -> None:
    kernel = torch.randn(12, 50)
    similarity = kernel_similarity(kernel)
    quantile = SimilarityGrouping(GroupingConfig(num_groups=3), 12, 3)
    assert quantile.threshold(similarity) == similarity_quantile(similarity, 3)
    constant = SimilarityGrouping(GroupingConfig(num_groups=3, threshold="constant", constant_threshold=0.07), 12, 3)
    assert constant.threshold(similarity).item() == pytest.approx(0.07)
    learned = SimilarityGrouping(GroupingConfig(num_groups=3, threshold="learned", initial_threshold=0.3), 12, 3)
    learned.initialize(kernel)
    assert learned.threshold(similarity).item() == pytest.approx(0.3)
    learned = SimilarityGrouping(GroupingConfig(num_groups=3, threshold="learned"), 12, 3)
    learned.initialize(kernel)
    assert learned.threshold(similarity).item() == pytest.approx(similarity_quantile(similarity, 3).item(), rel=1e-4)
    assert learned.threshold(similarity).requires_grad and not quantile.threshold(similarity).requires_grad


@pytest.mark.parametrize(("kernel", "num_groups", "start"), [(torch.eye(6), 6, 0.999), (torch.eye(6), 1, 0.001)])
def test_a_learned_threshold_starts_strictly_between_0_and_1(kernel: torch.Tensor, num_groups: int, start: float) -> None:
    """Where the quantile is an end of the sigmoid, 1 (every channel its own group) or 0, logit would be infinite."""
    grouping = SimilarityGrouping(GroupingConfig(num_groups=num_groups, threshold="learned"), 6, num_groups)
    grouping.initialize(kernel)
    assert grouping.threshold(torch.zeros(6, 6)).item() == pytest.approx(start, rel=1e-4)


def test_the_last_valid_values_are_valid() -> None:
    """`num_groups: 1`, a share of all channels, freezing from the start."""
    config = GroupingConfig(num_groups=1, max_group_share=1.0, freeze_kimg=0.0, constant_temperature=1e-6)
    assert config.groups_for(1, "x") == 1
    assert GroupingConfig(num_groups=8).groups_for(8, "x") == 8
    assert GroupingConfig(num_groups=9, max_group_share=1.0).groups_for(8, "x") == 8


def test_cap_by_share_of_channels() -> None:
    config = GroupingConfig(num_groups=16, max_group_share=0.25)
    assert [config.groups_for(c, "x") for c in (512, 64, 63, 32, 8, 3)] == [16, 16, 15, 8, 2, 1]


def test_more_groups_than_channels_is_an_error_naming_layer_and_numbers() -> None:
    config = GroupingConfig(num_groups=16)
    assert config.groups_for(16, "64x64.up") == 16
    with pytest.raises(InputError, match=r"num_groups must be at most the 8 channels of layer 64x64\.up, got 16"):
        config.groups_for(8, "64x64.up")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "simlarity"), ("step", "unit"), ("threshold", "0.1"), ("assignment", "max"), ("empty_group", "none"),
        ("loss_reduction", "average"), ("num_groups", 0), ("max_group_share", 0.0), ("max_group_share", 1.5),
        ("initial_threshold", 0.0), ("initial_threshold", 1.0), ("constant_temperature", 0.0), ("freeze_kimg", -1.0),
    ],
)  # fmt: skip
def test_wrong_options_name_the_field_and_the_value(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"grouping\.{field} must .*{value}") as caught:
        GroupingConfig(**{field: value})
    assert "\n" not in str(caught.value)


def test_contiguous_groups_are_floor_of_j_g_over_c() -> None:
    grouping = build_grouping(GroupingConfig(kind="contiguous", num_groups=3), 8, "x")
    assert isinstance(grouping, FixedGrouping) and not list(grouping.parameters())
    assert grouping.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert torch.equal(grouping.membership().argmax(dim=1), grouping.groups)


def test_random_groups_are_a_seeded_partition_of_the_same_sizes() -> None:
    build = lambda seed: build_grouping(GroupingConfig(kind="random", num_groups=4, random_seed=seed), 32, "x")  # noqa: E731
    grouping = build(0)
    assert torch.equal(grouping.groups, build(0).groups) and not torch.equal(grouping.groups, build(1).groups)
    assert grouping.membership().sum(dim=0).tolist() == [8] * 4
    assert grouping.groups.tolist() != sorted(grouping.groups.tolist())


def test_build_grouping_by_kind() -> None:
    assert build_grouping(GroupingConfig(kind="none"), 8, "x") is None
    assert isinstance(build_grouping(GroupingConfig(num_groups=4), 8, "x"), SimilarityGrouping)
    assert isinstance(build_grouping(GroupingConfig(kind="block_diagonal", num_groups=4), 8, "x"), BlockDiagonalGrouping)


def test_a_new_kind_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grouping that no file but its own knows: it is found by name, trained by its loss, and logged."""

    class Pull(Grouping):
        """Two groups by the sign of one trained number a channel."""

        def __init__(self, num_channels: int) -> None:
            super().__init__(num_channels, 2)
            self.side = torch.nn.Parameter(torch.linspace(-1, 1, num_channels))

        def membership(self) -> torch.Tensor:
            return torch.stack([self.side < 0, self.side >= 0], dim=1).to(self.side.dtype)

        def loss(self, kernel: torch.Tensor) -> GroupingLoss:
            error = (self.side - kernel.detach().flatten(1).mean(dim=1)).square().mean()
            return GroupingLoss(error, None, error.detach())

        def statistics(self, kernel: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"spread": self.side.detach().std()}

    with pytest.raises(InputError, match="kind must be one of none, similarity, .*, got 'pull'"):
        GroupingConfig(kind="pull")
    monkeypatch.setitem(GROUPINGS, "pull", lambda config, num_channels, num_groups: Pull(num_channels))
    config = StyleConfig(
        data=DataConfig(flip=False, num_workers=0),
        generator=GeneratorConfig(grouping=GroupingConfig(kind="pull", num_groups=2)),
        training=TrainingConfig(batch_size=8, device="cpu", precision="float32"),
    ).tiny()
    system = config.build(Precision(torch.device("cpu"), "float32"))
    (phase,) = [phase for phase in system.phases if phase.name == "grouping"]
    before = [parameter.detach().clone() for parameter in phase.parameters]
    loss, _ = phase.loss(Shard(None, None))
    loss.backward()
    phase.optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, phase.parameters, strict=True))
    logged = system.log_values({})
    assert logged["groups/8x8.up/spread"] > 0 and logged["groups/8x8.up/nonempty"] == 2
    assert logged["groups/8x8.up/ema_agreement"] == 1
