"""Edits of any partition, and what they change of attributes: a toy generator whose channels are known, and slow loops."""

import numpy as np
import pytest
import torch
from toy_attributes import RowMeans, ToyAttributes

from sarigan.analysis.disentanglement import AttributeChange, disentanglement
from sarigan.analysis.group_edits import MEAN_CHANGE, TOLERANCE, GroupEdits
from sarigan.layers.grouping import GroupingConfig
from sarigan.layers.intervention import Intervention, PartitionShift, Regrouping
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.metrics.groups.permutation_null import null_test, random_partitions
from sarigan.models.generator import Generator, GeneratorConfig

ATTRIBUTES = [0, 1, 2, 3] * 4
LAYER = "8x8.up"


def generator(kind: str) -> Generator:
    torch.manual_seed(0)
    widths = {"resolution": 8, "z_dim": 8, "style_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 12}
    return Generator(GeneratorConfig(**widths, grouping=GroupingConfig(kind=kind, num_groups=4))).eval().requires_grad_(False)


def test_an_edit_of_a_partition_is_a_regrouping_and_a_shift() -> None:
    model = generator("similarity")
    latents, groups = model.latents(torch.randn(3, 8)), torch.tensor([0, 1, 2, 3] * 3)
    one = model.synthesize(latents, "fixed", [PartitionShift(LAYER, groups, 2, 0.7)]).images
    two = [Regrouping(LAYER, groups), Intervention(LAYER, 2, "h", "shift", 0.7, torch.ones(1))]
    torch.testing.assert_close(one, model.synthesize(latents, "fixed", two).images)
    assert not torch.allclose(one, model.synthesize(latents, "fixed").images, atol=1e-3)


@pytest.mark.parametrize("kind", ["none", "similarity"])
def test_an_edit_scales_the_channels_of_its_group_alone(kind: str) -> None:
    """f_j (h + delta) / h with h = sqrt(1/c sum f_j^2) of the group, by a loop; also in StyleGAN2."""
    model = generator(kind)
    latents, groups = model.latents(torch.randn(3, 8)), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    before = model.synthesis.channel_scales(latents)[LAYER].double()
    layer = dict(model.synthesis.named_layers())[LAYER]
    member = None if layer.grouping is None else layer.grouping.membership()
    codes = layer.style(latents[:, 1], member)
    torch.testing.assert_close(before.float(), channel_affine(codes)[0])
    after = channel_affine(PartitionShift(LAYER, groups, 1, 0.3)(codes))[0].double()
    for n in range(3):
        h = (sum(float(before[n, j]) ** 2 for j in range(5, 9)) / 12) ** 0.5
        for j in range(12):
            factor = (h + 0.3) / h if groups[j] == 1 else 1.0
            assert float(after[n, j]) == pytest.approx(float(before[n, j]) * factor, rel=1e-4)


def test_all_edits_change_the_images_by_the_same_mean() -> None:
    toy = ToyAttributes(ATTRIBUTES)
    edits = GroupEdits(toy, LAYER, toy.latents(16))
    for group in range(4):
        change = (edits.images(torch.arange(16) // 4, group) - edits.before).abs().mean()
        assert abs(float(change) / MEAN_CHANGE - 1) < TOLERANCE


def effects_of(groups: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
    """[1 + P,G,A] of a toy generator."""
    toy = ToyAttributes(ATTRIBUTES)
    edits = GroupEdits(toy, LAYER, toy.latents(32))
    judge = AttributeChange(RowMeans(), ["a", "b", "c", "d"], edits.before)
    return edits.judged([groups, *more], {"attributes": judge})["attributes"]


def test_a_group_of_one_attribute_is_disentangled_and_a_mixed_one_is_not() -> None:
    perfect, mixed = torch.tensor(ATTRIBUTES), torch.arange(16) // 4
    halves = torch.tensor([0, 0, 2, 2] * 4)  # two attributes a group
    halves[torch.tensor([4, 5, 12, 13])] = 1
    halves[torch.tensor([6, 7, 14, 15])] = 3
    found = [disentanglement(effects_of(groups)[0]) for groups in (perfect, halves, mixed)]
    torch.testing.assert_close(found[0], torch.ones(4), rtol=0, atol=1e-4)
    # Every channel of a group is scaled alike, so its attributes change about equally: 1/2 of two, 1/4 of four.
    torch.testing.assert_close(found[1], torch.full((4,), 0.5), rtol=0, atol=0.1)
    torch.testing.assert_close(found[2], torch.full((4,), 0.25), rtol=0, atol=0.1)


def test_effects_are_those_of_a_slow_loop() -> None:
    toy = ToyAttributes(ATTRIBUTES)
    edits = GroupEdits(toy, LAYER, toy.latents(8))
    images = edits.images(torch.arange(16) // 4, 2)
    found = AttributeChange(RowMeans(), ["a", "b", "c", "d"], edits.before)(images)
    for a in range(4):
        old, new = ([float(picture[:, a].double().mean()) for picture in some] for some in (edits.before, images))
        expected = np.mean([abs(x - y) for x, y in zip(old, new, strict=True)]) / np.std(old, ddof=1)
        assert float(found[a]) == pytest.approx(expected, rel=1e-3)


def test_an_attribute_that_never_varies_is_left_out() -> None:
    class WithConstant(RowMeans):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.full((len(images), 1), 3.0), super().forward(images)], dim=1)

    toy = ToyAttributes(ATTRIBUTES)
    edits = GroupEdits(toy, LAYER, toy.latents(8))
    judge = AttributeChange(WithConstant(), ["never", "a", "b", "c", "d"], edits.before)
    assert judge.names == ["a", "b", "c", "d"] and judge(edits.before).tolist() == [0.0] * 4
    assert disentanglement(torch.zeros(2, 4)).tolist() == [0.25, 0.25]


def test_the_null_of_disentanglement() -> None:
    """A perfect grouping beats all random ones; the p of groups that are random themselves is uniform."""
    perfect, null = torch.tensor(ATTRIBUTES), random_partitions(torch.tensor(ATTRIBUTES), 60)
    scores = disentanglement(effects_of(perfect, *null)).mean(dim=1).double().numpy()
    assert null_test(scores[0], scores[1:]).p == pytest.approx(1 / 61) and scores[1:].max() < 0.8
    known = scores[31:]
    p = [null_test(score, known).p for score in scores[1:31]]
    assert 0.35 < np.mean(p) < 0.65 and sum(value <= 0.05 for value in p) <= 5
