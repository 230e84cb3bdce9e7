"""Segmentation of images whose parts are known; IoU by loops."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.analysis.awareness_segmentation import (
    clusters_of,
    layer_weights,
    matched_iou,
    segmented,
    weighted_features,
    weights_test,
)
from sarigan.errors import InputError


def quarters() -> Tensor:
    """Four parts, int64 [2,8,8]; in the second image one of them fills a half."""
    parts = torch.zeros(2, 8, 8, dtype=torch.int64)
    parts[:, :4, 4:], parts[:, 4:, :4], parts[:, 4:, 4:] = 1, 2, 3
    parts[1, :4] = 1
    return parts


def test_iou_is_the_best_matching() -> None:
    random = np.random.default_rng(0)
    parts, clusters = quarters(), torch.from_numpy(random.integers(0, 4, (2, 8, 8)))
    expected = []
    for truth, found in zip(parts.numpy(), clusters.numpy(), strict=True):
        names = np.unique(truth)
        best = 0.0
        for chosen in permutations(range(4), len(names)):
            pairs = [(truth == name, found == cluster) for name, cluster in zip(names, chosen, strict=True)]
            best = max(best, float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs])))
        expected.append(best)
    assert matched_iou(clusters, parts) == pytest.approx(np.mean(expected))
    assert matched_iou(3 - parts, parts) == 1  # whatever the numbers of the clusters
    one = torch.zeros_like(parts)  # one cluster matches one part
    assert matched_iou(one, parts) == pytest.approx((0.25 / 4 + 0.5 / 3) / 2)


def test_weights_find_what_noise_hides() -> None:
    """Channels of the parts are weak, one loud channel is noise: its weight is 0."""
    parts = quarters()
    source = torch.Generator().manual_seed(0)
    features = torch.nn.functional.one_hot(parts, 4).permute(0, 3, 1, 2).float()
    noise = 20 * torch.rand(2, 12, 8, 8, generator=source)
    weights = torch.cat([torch.ones(2, 4), torch.zeros(2, 12)], dim=1)
    hidden, awareness = {"x": torch.cat([features, noise], dim=1)}, {"x": weights}
    weighted, unweighted = (segmented(hidden, some, 8, 4) for some in (awareness, None))
    test = weights_test(hidden, awareness, weighted, parts, 4, 8)
    assert test.score == 1 and test.null_mean < 0.7 and matched_iou(unweighted, parts) < 0.7
    assert weighted.shape == (2, 8, 8) and test.p == pytest.approx(1 / 9)
    assert torch.equal(unweighted, segmented(hidden, None, 8, 4))
    assert torch.equal(unweighted, clusters_of(weighted_features(hidden, None, 8), 4))  # image by image, as all together


def test_features_of_layers_are_upsampled_weighted_joined_and_normalised() -> None:
    coarse, fine = torch.rand(1, 2, 1, 1), torch.rand(1, 3, 4, 4)
    weights = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([[1.0, 1.0, 3.0]])}
    rows = weighted_features({"a": coarse, "b": fine}, weights, 4)
    expected = torch.tensor([2 * coarse[0, 0, 0, 0], 0, *(fine[0, :, 1, 2] * torch.tensor([1.0, 1.0, 3.0]))])
    torch.testing.assert_close(rows[0, 1 * 4 + 2], expected / expected.norm())
    table = {"a": torch.arange(6.0).reshape(3, 2)}
    assert layer_weights(table, ["a"], torch.tensor([2, 0]))["a"].tolist() == [[4, 5], [0, 1]]


def test_clusters() -> None:
    with pytest.raises(InputError, match="--clusters must be 2 to 16, the positions of a map, got 17"):
        clusters_of(torch.rand(1, 16, 3), 17)
    assert clusters_of(torch.ones(1, 16, 3), 4).unique().tolist() == [0]  # fewer distinct features than clusters
