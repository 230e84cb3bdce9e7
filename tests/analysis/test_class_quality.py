"""Rank correlations over classes against scipy, their interval by its coverage, and what an evaluation wrote."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sarigan.analysis.class_quality import class_results, rank_correlation, total_awareness
from sarigan.errors import InputError


def test_against_scipy() -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal(12)
    b = a + random.standard_normal(12)
    found = rank_correlation(torch.from_numpy(a), torch.from_numpy(b))
    other = spearmanr(a, b)
    assert found.value == pytest.approx(other.statistic) and found.p == pytest.approx(other.pvalue, abs=0.02)
    assert found.low < found.value < found.high and found.num_classes == 12


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Normal variables of correlation r have Spearman's correlation 6/pi asin(r/2)."""
    random, r, hits = np.random.default_rng(1), 0.6, 0
    for _ in range(300):
        a = random.standard_normal(15)
        b = r * a + math.sqrt(1 - r * r) * random.standard_normal(15)
        found = rank_correlation(torch.from_numpy(a), torch.from_numpy(b), 2)
        hits += found.low <= 6 / math.pi * math.asin(r / 2) <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def test_extremes() -> None:
    order = torch.arange(6.0)
    assert rank_correlation(order, -order, 200).value == pytest.approx(-1) and rank_correlation(order, -order, 200).p < 0.05
    assert math.isnan(rank_correlation(order, torch.ones(6)).value)
    with pytest.raises(InputError, match="needs at least 4 of them, got 3"):
        rank_correlation(order[:3], order[:3])
    tables = {"x": torch.tensor([[1.0, 2], [3, 4]]), "y": torch.tensor([[10.0], [20]])}
    assert total_awareness(tables).tolist() == [13, 27]


def test_results_of_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    of_classes = {"name": "class_fd_x", "details": {"classes": {"b": 2.0, "a": 1, "c": 3}}}
    path.write_text(json.dumps({"results": [of_classes, {"name": "fid", "details": {}}, {"name": "odd", "details": 3}, 7]}))
    assert {name: values.tolist() for name, values in class_results(path, ["a", "b"]).items()} == {"class_fd_x": [1, 2]}
    with pytest.raises(InputError, match="evaluation.json: has no result of the classes a, d; write one by"):
        class_results(path, ["a", "d"])
    with pytest.raises(InputError, match=r"absent.json.*sarigan evaluate --output"):
        class_results(tmp_path / "absent.json", ["a"])
