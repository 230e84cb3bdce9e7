"""Locality scores on planted cases: groups that do follow parts, groups that do not, and slow loops as truth."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sarigan.analysis.locality_report import EditLocality, edit_locality, verdict
from sarigan.analysis.part_iou import IouScorer, best_labels, load_masks, part_iou
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.metrics.groups.permutation_null import NullTest
from sarigan.models.generator import Generator, GeneratorConfig

NUM_PARTS, NUM_GROUPS, NUM_CHANNELS = 6, 6, 30


def planted(follows_parts: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features [6,30,8,8], masks of five moving squares, groups: channels of group i respond to part i + 1 (or to noise)."""
    source = torch.Generator().manual_seed(seed)
    masks = torch.zeros(6, 16, 16, dtype=torch.long)
    for n in range(6):
        for part in range(5):
            top, left = 2 * ((part + n) % 6) + 1, 3 * part
            masks[n, top : top + 4, left : left + 3] = part + 1
    groups = torch.arange(NUM_CHANNELS) % 5
    features = 0.3 * torch.randn(6, NUM_CHANNELS, 8, 8, generator=source)
    if follows_parts:
        here = torch.nn.functional.one_hot(masks, NUM_PARTS).permute(0, 3, 1, 2).float()
        coarse = torch.nn.functional.avg_pool2d(here, 2)[:, groups + 1]
        features += coarse * torch.where(torch.arange(NUM_CHANNELS) % 2 == 0, 3.0, -3.0)[:, None, None]
    return features, masks, groups


def test_planted_groups_are_found_and_random_ones_are_not() -> None:
    features, masks, groups = planted(True)
    found = part_iou(features, masks, NUM_PARTS, groups, NUM_GROUPS, num_permutations=100)
    assert found.best.z > 4 and found.best.p == pytest.approx(1 / 101) and found.best.above_chance
    assert found.assigned.z > 3 and found.assigned.p == pytest.approx(1 / 101)
    assert [int(row.argmax()) for row in found.iou[:5]] == [1, 2, 3, 4, 5]
    assert found.occupied.tolist() == [True] * 5 + [False]
    assert (found.iou[5] == 0).all() and found.group_best[5] is None
    labels = best_labels(found, ("rest", "hat", "nose", "ear", "eye", "chin"))
    assert labels[1].startswith("nose 0.") and "random" not in labels[1] and 5 not in labels

    # Where groups are no better than chance, p is uniform.
    tests = [part_iou(*planted(False, seed)[:2], NUM_PARTS, groups, NUM_GROUPS, num_permutations=40).best for seed in range(30)]
    assert 0.35 < np.mean([test.p for test in tests]) < 0.65
    assert sum(test.above_chance for test in tests) <= 5


def test_iou_is_that_of_a_slow_loop() -> None:
    features, masks, groups = planted(True)
    found = IouScorer(features, masks, NUM_PARTS)(groups, NUM_GROUPS)
    upsample = torch.nn.functional.interpolate
    large = upsample(features.abs(), size=(16, 16), mode="bilinear", align_corners=False).double().numpy()
    for group in range(5):
        members = [j for j in range(NUM_CHANNELS) if groups[j] == group]
        response = sum(large[:, j] for j in members) / len(members)
        count = round(0.05 * response.size)
        threshold = np.sort(response.ravel())[-count - 1]
        active = response > threshold
        assert active.sum() == count
        for part in range(NUM_PARTS):
            here = masks.numpy() == part
            expected = (active & here).sum() / (active | here).sum()
            assert float(found[group, part]) == pytest.approx(expected, abs=0.02)  # ties of float32 against float64


def small_generator() -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=16, z_dim=8, style_dim=8, mapping_layers=2, channel_base=64, channel_max=8,
        grouping=GroupingConfig(num_groups=3),
    )  # fmt: skip
    return Generator(config).eval().requires_grad_(False)


def test_edits_of_a_random_model_are_not_local() -> None:
    """Shares sum to one, lift is share over area, and the change has the asked mean; nothing beats chance by far."""
    generator = small_generator()
    latents = generator.latents(torch.randn(4, 8))
    masks = torch.zeros(4, 16, 16, dtype=torch.long)
    masks[:, :4] = 1
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
    found = edit_locality(generator, "16x16.conv", latents, masks, 3, groups, 3, num_partitions=4)
    assert found.area.tolist() == pytest.approx([0.75, 0.25, 0])
    torch.testing.assert_close(found.share[:2].sum(dim=1), torch.ones(2))
    torch.testing.assert_close(found.lift[:2, :2], found.share[:2, :2] / found.area[:2])
    assert found.share[2].isnan().all() and found.group_best[2] is None
    assert abs(found.best.z) < 8 and -1 <= found.spread.score < 0 and found.best.num_null == 4


def test_edits_of_a_planted_model_are_local() -> None:
    """With 1x1 kernels nothing moves: an edit of channels falls where they are strong."""
    generator = small_generator()
    synthesis = generator.synthesis
    with torch.no_grad():
        block = synthesis.blocks["16x16"]
        block.conv.convolution.weight.zero_()
        block.conv.convolution.weight[torch.arange(4), torch.arange(4), 1, 1] = 10.0  # a group of channels 0-3: a copy
        block.conv.convolution.weight[:, 4:, 1, 1] = 1.0
    latents = generator.latents(torch.randn(4, 8))
    features = {}
    handle = block.conv.modulation.register_forward_pre_hook(lambda m, i: features.update(x=i[0]))
    generator.synthesize(latents, "fixed")
    handle.remove()
    # The parts are where channels 0-3 are strong and where they are not, so that their edit must fall on part 1.
    strength = features["x"][:, :4].abs().mean(dim=1)
    masks = (strength > strength.flatten(start_dim=1).quantile(0.9, dim=1)[:, None, None]).long()
    groups = torch.tensor([0] * 4 + [1] * 4)
    found = edit_locality(generator, "16x16.conv", latents, masks, 2, groups, 3, num_partitions=3)
    assert found.lift[0, 1] > 1.2
    # Both say the same of these groups: channels 0-3 respond to part 1, and their edit changes it.
    iou = part_iou(features["x"], masks, 2, groups, 3, num_permutations=20)
    assert iou.iou[0].argmax() == found.lift[0].argmax() == 1 and iou.iou[0, 1] > 2 * iou.iou[1, 1]


def test_verdict() -> None:
    """More local than chance is what p <= 0.05 says, of responses and of edits each by their own test."""
    features, masks, groups = planted(True)
    iou = part_iou(features, masks, NUM_PARTS, groups, NUM_GROUPS, num_permutations=2)
    local, other = NullTest(0.5, 0.25, 0.05, 19, 5.0, 0.05), NullTest(1.5, 1.25, 0.5, 19, 0.5, 0.3)
    tail, nothing = "than those of random groups of equal sizes", torch.zeros(0)
    assert verdict("8x8.up", replace(iou, best=local), EditLocality(nothing, nothing, nothing, other, other, [])) == (
        f"Responses of the groups of 8x8.up are more local {tail} (best part IoU 0.5 against 0.25 +- 0.05, z +5.0, p 0.050,"
        " the least that 19 permutations can give);"
        f" edits of the groups of 8x8.up are not more local {tail} (best part lift 1.5 against 1.25 +- 0.5, z +0.5, p 0.300)."
    )
    assert verdict("8x8.up", replace(iou, best=other), EditLocality(nothing, nothing, nothing, local, other, [])) == (
        f"Responses of the groups of 8x8.up are not more local {tail} (best part IoU 1.5 against 1.25 +- 0.5, z +0.5, p 0.300);"
        f" edits of the groups of 8x8.up are more local {tail} (best part lift 0.5 against 0.25 +- 0.05, z +5.0, p 0.050,"
        " the least that 19 partitions can give)."
    )


def test_masks_are_made_as_the_page_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project_root: Path) -> None:
    page = (project_root / "docs/editing.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1], {})
    found = load_masks(Path("masks.npz"), 64, 64)
    assert found.names == ("dark", "grey", "bright") and found.masks.unique().tolist() == [0, 1, 2]


def test_masks_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 8))
    np.savez(path, masks=masks, names=np.array(["rest", "hat"]))
    found = load_masks(path, 3, 8)
    assert found.names == ("rest", "hat") and np.array_equal(found.masks.numpy(), masks)
    for arguments, message in {(4, 8): r"shape \(4, 8, 8\), got int64 \(3, 8, 8\)", (3, 16): "shape"}.items():
        with pytest.raises(InputError, match=message):
            load_masks(path, *arguments)
    np.savez(path, masks=masks + 1, names=np.array(["rest", "hat"]))
    with pytest.raises(InputError, match="masks must be 0 to 1, an index into names, got 2"):
        load_masks(path, 3, 8)
    path.write_text("no")
    with pytest.raises(InputError, match="not a readable .npz file"):
        load_masks(path, 3, 8)
