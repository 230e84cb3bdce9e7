"""Parts of a generated image by k-means of its features, each channel weighted by the awareness of the image's class.

Features after ReLU of the chosen layers times A, upsampled to one size and concatenated, are normalised at every position and
clustered within the image (after He et al. 2022). Clusters are compared with the parts that a segmenter finds. Beside that
stand features without weights, and weights dealt to random channels of their layer.
Legend: N images, C channels, S side of the compared maps, L clusters.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.metrics.groups.permutation_null import NullTest, null_test, random_partitions

MIN_SHARE = 0.01  # of the pixels: smaller parts of an image are not looked for


def weighted_features(features: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None, side: int) -> Tensor:
    """Features [N,C,H,W] of all layers times weights [N,C] (None: 1), of unit length at every position: [N,S*S,sum C]."""
    parts = []
    for layer, x in features.items():
        x = x.float() if weights is None else x.float() * weights[layer].to(x.device, torch.float32)[:, :, None, None]
        parts.append(F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False))
    joined = torch.cat(parts, dim=1).flatten(start_dim=2).transpose(1, 2)
    return F.normalize(joined, dim=2)


def clusters_of(rows: Tensor, num_clusters: int, seed: int = 0) -> Tensor:
    """k-means of every image's positions [N,S*S,C] -> int64 [N,S,S]. InputError for more clusters than positions."""
    from sklearn.cluster import KMeans  # takes seconds to import

    side = round(rows.shape[1] ** 0.5)
    check_clusters(num_clusters, side)
    found = []
    for row in rows.cpu().numpy():
        distinct = len(np.unique(row, axis=0))
        means = KMeans(min(num_clusters, distinct), n_init=4, random_state=seed).fit(row)
        found.append(torch.from_numpy(means.labels_.astype(np.int64)).reshape(side, side))
    return torch.stack(found)


def check_clusters(num_clusters: int, side: int) -> None:
    """InputError for more clusters than a map of S*S has positions."""
    if not 2 <= num_clusters <= side * side:
        raise InputError(f"--clusters must be 2 to {side * side}, the positions of a map, got {num_clusters}")


def matched_iou(clusters: Tensor, parts: Tensor) -> float:
    """Mean over images of the mean IoU of each part with the cluster matched to it; int64 [N,S,S] both.

    Clusters and parts are matched one to one, as well as can be; a part without a cluster counts 0.
    """
    return float(np.mean([_image_iou(c.flatten(), p.flatten()) for c, p in zip(clusters, parts, strict=True)]))


def _image_iou(clusters: Tensor, parts: Tensor) -> float:
    table, sizes = _iou_table(clusters, parts, int(parts.max()) + 1)
    table = table[sizes >= MIN_SHARE * len(parts)]
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return float(table[torch.as_tensor(rows), torch.as_tensor(columns)].sum()) / len(table)


def _iou_table(clusters: Tensor, parts: Tensor, num_parts: int) -> tuple[Tensor, Tensor]:
    """IoU [K,L] of the parts with the clusters of one image, int64 [P] both, and the sizes [K] of the parts."""
    member, part = F.one_hot(clusters).double(), F.one_hot(parts, num_parts).double()
    both, sizes = part.T @ member, part.sum(dim=0)
    return both / (sizes[:, None] + member.sum(dim=0) - both).clamp_min(1), sizes


def segmented(
    features: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None, side: int, num_clusters: int, seed: int = 0
) -> Tensor:
    """Clusters int64 [N,S,S] of images by features [N,C,H,W] and A [N,C] of their classes; None: without weights."""
    clusters = []
    for index in range(len(next(iter(features.values())))):  # one at a time: joined features are large
        row = slice(index, index + 1)
        chosen = None if weights is None else {layer: table[row] for layer, table in weights.items()}
        joined = weighted_features({layer: x[row] for layer, x in features.items()}, chosen, side)
        clusters.append(clusters_of(joined, num_clusters, seed))
    return torch.cat(clusters)


def weights_test(
    features: Mapping[str, Tensor], weights: Mapping[str, Tensor], weighted: Tensor, parts: Tensor, num_clusters: int,
    num_permutations: int = 20, seed: int = 0,
) -> NullTest:  # fmt: skip
    """Mean IoU of the clusters that `segmented` gave with the true parts, int64 [N,S,S] both.

    The null: the weights dealt to random channels of their layer.
    """
    shuffles = {
        layer: random_partitions(torch.arange(table.shape[1]), num_permutations, seed) for layer, table in weights.items()
    }
    chance = []
    for number in range(num_permutations):
        shuffled = {layer: table[:, shuffles[layer][number]] for layer, table in weights.items()}
        chance.append(matched_iou(segmented(features, shuffled, parts.shape[-1], num_clusters, seed), parts))
    return null_test(matched_iou(weighted, parts), np.array(chance))


def layer_weights(tables: Mapping[str, Tensor], layers: Sequence[str], labels: Tensor) -> dict[str, Tensor]:
    """A [N,C] of the class of every image, by layer, from tables [K,C]."""
    return {layer: tables[layer][labels.cpu()] for layer in layers}


def aligned(clusters: Tensor, parts: Tensor, num_parts: int) -> Tensor:
    """Clusters int64 [N,S,S] numbered as the parts that they match in their image; the others from `num_parts` on."""
    found = torch.empty_like(clusters)
    for index, (some, truth) in enumerate(zip(clusters, parts, strict=True)):
        table, _ = _iou_table(some.flatten(), truth.flatten(), num_parts)
        number = num_parts + torch.arange(table.shape[1])
        for row, column in zip(*(part.tolist() for part in linear_sum_assignment(table.numpy(), maximize=True)), strict=True):
            if table[row, column] > 0:
                number[column] = row
        found[index] = number[some]
    return found
