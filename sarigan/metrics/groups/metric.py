"""The metric `groups`: quality, premise and stability of the semantic groups of a generator.

Stability asks whether two checkpoints have the same groups. The adjusted Rand index (Hubert & Arabie 1985) is 1 for the same
partition and 0 in the mean for random ones of the same sizes. Churn is the share of channels that change group when groups
are matched as well as can be (Hungarian algorithm); that of random partitions of the same sizes stands beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.groups.permutation_null import NullTest, check_permutations, permutation_test, without_nan
from sarigan.metrics.groups.premise import PremiseConfig, premise_test
from sarigan.metrics.groups.quality import energy_share, group_labels, group_quality, grouped_layers
from sarigan.models.generator import Generator


@dataclass(frozen=True)
class LayerStability:
    """How one layer's groups differ between two generators."""

    adjusted_rand_index: float
    churn: NullTest


@torch.no_grad()
def group_stability(
    first: Generator, second: Generator, num_permutations: int = 1000, seed: int = 0
) -> dict[str, LayerStability]:
    """By layer name. InputError when one has no groups or their layers differ in name or width."""
    check_permutations(num_permutations)
    check_same_layers(first, second)
    labels = [{layer.name: group_labels(layer) for layer in grouped_layers(generator)} for generator in (first, second)]
    return {name: partition_stability(a, labels[1][name], num_permutations, seed) for name, a in labels[0].items()}


def check_same_layers(first: Generator, second: Generator) -> None:
    """InputError when one has no groups or their layers differ in name or width."""
    shapes = [{layer.name: layer.grouping.num_channels for layer in grouped_layers(generator)} for generator in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(f"groups: checkpoints of one architecture can be compared, got layers {shapes[0]} and {shapes[1]}")


def partition_stability(a: Tensor, b: Tensor, num_permutations: int = 1000, seed: int = 0) -> LayerStability:
    """Stability of two labellings [c] of the same channels; the numbering of groups does not matter."""
    from sklearn.metrics import adjusted_rand_score

    index = float(adjusted_rand_score(a.numpy(), b.numpy()))
    return LayerStability(index, permutation_test(lambda some: churn(a, some), b, num_permutations, seed))


def churn(a: Tensor, b: Tensor) -> float:
    """Share of channels outside the best one-to-one matching of groups."""
    from scipy.optimize import linear_sum_assignment

    _, rows = torch.unique(a, return_inverse=True)
    _, columns = torch.unique(b, return_inverse=True)
    table = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1), dtype=np.int64)
    np.add.at(table, (rows.numpy(), columns.numpy()), 1)
    matched = linear_sum_assignment(table, maximize=True)
    return 1 - float(table[matched].sum()) / len(a)


class GroupQuality(Metric):
    """Groups as clusters of kernels, the premise, and with a second checkpoint the stability, each against chance."""

    needs_data = False
    needs_generator = True
    name = "groups"
    summary = "quality of the semantic groups, each score against random groups of the same sizes"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--stability-checkpoint", metavar="FILE", help="an earlier or later checkpoint to compare the groups with")
        add("--premise-images", type=int, default=256, help="images whose activations are correlated (256)")

    def check(self, evaluation: Evaluation) -> None:
        generator = evaluation.require_generator()
        grouped_layers(generator)
        self._premise(evaluation)
        if evaluation.other_generator is not None:
            check_same_layers(generator, evaluation.other_generator)

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        generator, seed = evaluation.require_generator(), evaluation.config.seed
        quality = group_quality(generator, seed=seed)
        energy = energy_share(generator, seed=seed)
        premise_config = self._premise(evaluation)
        advance = evaluation.progress(premise_config.num_images, "activations of groups")
        premise = premise_test(generator, premise_config, advance)
        over = f"mean over {len(quality)} layers"
        layers = {
            name: {**asdict(found), "energy": asdict(energy[name]), "premise": asdict(premise[name])}
            for name, found in quality.items()
        }
        layers = without_nan(layers)
        results = [
            Result(
                "groups_separation", fmean(q.separation.score for q in quality.values()),
                f"cosine of kernels within groups minus between, {over}", details=layers, higher_is_better=True,
                null=fmean(q.separation.null_mean for q in quality.values()),
            ),
            Result(
                "groups_silhouette", fmean(q.silhouette.score for q in quality.values()), f"silhouette of kernels, {over}",
                higher_is_better=True, null=fmean(q.silhouette.null_mean for q in quality.values()),
            ),
            Result("groups_size_entropy", fmean(q.size_entropy for q in quality.values()), f"H(sizes) / log g, {over}"),
            Result(
                "groups_premise", fmean(p.score for p in premise.values()),
                f"Spearman of kernel similarity and activation correlation, {premise_config.num_images} images, {over}",
                higher_is_better=True, null=fmean(p.null_mean for p in premise.values()),
            ),
        ]  # fmt: skip
        if evaluation.other_generator is not None:
            stability = group_stability(generator, evaluation.other_generator, seed=seed)
            details = without_nan({name: asdict(found) for name, found in stability.items()})
            index = fmean(found.adjusted_rand_index for found in stability.values())
            protocol = f"adjusted Rand index with {evaluation.arguments.get('stability_checkpoint')}, {over}"
            results.append(Result("groups_stability", index, protocol, details=details, higher_is_better=True))
        return results

    def _premise(self, evaluation: Evaluation) -> PremiseConfig:
        count = evaluation.arguments.get("premise_images") or PremiseConfig().num_images
        return PremiseConfig(count, batch_size=min(16, evaluation.config.batch_size), seed=evaluation.config.seed)
