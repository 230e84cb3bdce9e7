"""Does the total awareness of a class tell how good its images are? Rank correlations over the classes.

T_y = sum_j A_yj. The paper reports high T for classes of good images with little variety, and the reverse. Here T is ranked
against the distance, precision and recall of every class that `sarigan evaluate` wrote. Classes are few, so an interval stands
beside each correlation (Bonett & Wright 2000), and the share of shuffles of the classes with as strong a correlation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sarigan.analysis.channel_awareness import correlation, ranks
from sarigan.errors import InputError
from sarigan.files.reading import read_json
from sarigan.metrics.groups.permutation_null import permutation_test

MIN_CLASSES = 4  # the interval divides by sqrt(n - 3)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation over n classes, its 95% interval, and a two-sided p by permutation."""

    value: float
    low: float
    high: float
    p: float
    num_classes: int


def rank_correlation(a: Tensor, b: Tensor, num_permutations: int = 10_000, seed: int = 0) -> RankCorrelation:
    """Of two quantities [n]: tanh(atanh r -+ 1.96 sqrt((1 + r^2 / 2) / (n - 3))). InputError for fewer than four classes."""
    if len(a) < MIN_CLASSES:
        raise InputError(f"a rank correlation over classes needs at least {MIN_CLASSES} of them, got {len(a)}")
    first, second = ranks(a.double()), ranks(b.double())
    value = correlation(first, second)
    if math.isnan(value):  # one is constant
        return RankCorrelation(value, -1.0, 1.0, 1.0, len(a))
    # Rounding must not make a shuffle with the same correlation a weaker one.
    test = permutation_test(
        lambda order: round(abs(correlation(first, second[order])), 9), torch.arange(len(a)), num_permutations, seed
    )
    width = 1.96 * math.sqrt((1 + value * value / 2) / (len(a) - 3))
    middle = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, value)))
    return RankCorrelation(value, math.tanh(middle - width), math.tanh(middle + width), test.p, len(a))


def total_awareness(tables: Mapping[str, Tensor]) -> Tensor:
    """T [K]: A [K,C] summed over channels and layers."""
    return torch.stack([table.double().sum(dim=1) for table in tables.values()]).sum(dim=0)


def class_results(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Every result of an evaluation that has a value for each of the classes: [K] in their order, by name.

    path: JSON of `sarigan evaluate`. InputError naming the file when it holds none.
    """
    record = read_json(path, "`sarigan evaluate --output` writes one")
    results = record.get("results") if isinstance(record, dict) else None
    found = {}
    for result in results if isinstance(results, list) else []:
        details = result.get("details") if isinstance(result, dict) else None
        classes = details.get("classes") if isinstance(details, dict) else None
        if isinstance(classes, dict) and all(isinstance(classes.get(name), int | float) for name in names):
            found[str(result.get("name"))] = torch.tensor([float(classes[name]) for name in names], dtype=torch.float64)
    if not found:
        raise InputError(
            f"{path}: has no result of the classes {', '.join(names)}; write one by `sarigan evaluate --metrics"
            " class_fd_efficientnet,class_precision_recall_efficientnet`"
        )
    return found
